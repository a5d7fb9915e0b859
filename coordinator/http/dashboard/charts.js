// Charts by Apache ECharts on a canvas: loading it, colours of the theme, curves, and axes over parameters.

import {el, number} from '/assets/dom.js';

let loading = null;
function loadECharts() {
  loading ??= new Promise((resolve, reject) => {
    document.head.append(
      el('script', {
        src: '/assets/echarts.min.js',
        onload: () => resolve(globalThis.echarts),
        onerror: () => reject(new Error('/assets/echarts.min.js cannot be loaded')),
      }),
    );
  });
  return loading;
}

// Okabe & Ito's colours, those first that stand out on the background.
const onLight = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#555555'];
const onDark = ['#56B4E9', '#E69F00', '#009E73', '#CC79A7', '#F0E442', '#D55E00', '#BBBBBB'];

export function colours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  const dark = document.documentElement.dataset.theme === 'dark';
  return {
    text: read('--text'),
    dim: read('--dim'),
    line: read('--line'),
    panel: read('--panel'),
    palette: dark ? onDark : onLight,
    // viridis without the end that vanishes in the background
    ramp: dark
      ? ['#3b528b', '#2c728e', '#21918c', '#28ae80', '#5ec962', '#addc30', '#fde725']
      : ['#440154', '#443983', '#31688e', '#21918c', '#35b779', '#7ad151', '#d2b500'],
  };
}

// Charts are drawn one a frame, so that many large ones hold up neither scrolling nor typing.
let last = Promise.resolve();
function inTurn(action) {
  last = last
    .then(
      () =>
        new Promise((resolve) => {
          requestAnimationFrame(resolve);
        }),
    )
    .then(action)
    .catch(console.error);
}

/// A chart: `element` for the page, `draw(build)` with a function from colours to ECharts' option. It is drawn when it
/// is in sight, again when the theme changes, and freed with the page.
export function chart(label, signal, {height = 340, click} = {}) {
  const element = el('div', {class: 'chart', role: 'img', 'aria-label': label, style: {height: `${height}px`}});
  let instance = null,
    build = null,
    stale = false,
    inSight = false,
    queued = false;

  function paint() {
    stale = true;
    if (queued || !build || !inSight || element.clientWidth === 0) return;
    queued = true;
    inTurn(paintNow);
  }

  async function paintNow() {
    queued = false;
    const echarts = await loadECharts();
    if (signal.aborted || element.clientWidth === 0) return;
    stale = false;
    if (!instance) {
      instance = echarts.init(element, null, {renderer: 'canvas'});
      if (click) instance.on('click', click);
    }
    const shared = colours();
    const common = {
      animation: false,
      backgroundColor: 'transparent',
      color: shared.palette,
      textStyle: {color: shared.text, fontFamily: 'inherit'},
    };
    // What the user has zoomed to is kept; all that is drawn is new.
    const replaceMerge = ['series', 'xAxis', 'yAxis', 'parallelAxis', 'visualMap', 'legend', 'title'];
    instance.setOption({...common, ...build(shared)}, {replaceMerge});
  }

  const size = new ResizeObserver(() => {
    if (stale) paint();
    else if (element.clientWidth > 0) instance?.resize();
  });
  const sight = new IntersectionObserver(
    (entries) => {
      inSight = entries.at(-1).isIntersecting;
      if (inSight && stale) paint();
    },
    {rootMargin: '300px'},
  );
  size.observe(element);
  sight.observe(element);
  addEventListener('theme', paint, {signal});
  signal.addEventListener('abort', () => {
    size.disconnect();
    sight.disconnect();
    instance?.dispose();
  });
  return {
    element,
    draw(next) {
      build = next;
      paint();
    },
  };
}

// --- parts of options ---

/// A tooltip whose text is made of nodes: names come from specifications and are no HTML.
export function tooltip(shared, trigger, lines) {
  return {
    trigger,
    confine: true,
    backgroundColor: shared.panel,
    borderColor: shared.line,
    padding: 8,
    textStyle: {color: shared.text, fontSize: 12},
    axisPointer: {type: 'line', lineStyle: {color: shared.dim}},
    formatter: (given) =>
      el(
        'div',
        {class: 'tip'},
        lines(given).map((line) => el('div', {}, line)),
      ),
  };
}

export function axis(shared, more = {}) {
  return {
    nameTextStyle: {color: shared.dim},
    axisLine: {lineStyle: {color: shared.line}},
    axisLabel: {color: shared.dim, hideOverlap: true, ...more.axisLabel},
    splitLine: {lineStyle: {color: shared.line, opacity: 0.5}},
    axisTick: {lineStyle: {color: shared.line}},
    ...Object.fromEntries(Object.entries(more).filter(([key]) => key !== 'axisLabel')),
  };
}

/// Zooming with the wheel (and Shift: on pages that scroll the wheel alone stays the page's) and a bar below.
export function zoom(shared, axes = {xAxisIndex: 0}) {
  return [
    {type: 'inside', ...axes, filterMode: 'none', zoomOnMouseWheel: 'shift', moveOnMouseMove: true},
    {
      type: 'slider',
      ...axes,
      filterMode: 'none',
      height: 18,
      bottom: 4,
      borderColor: shared.line,
      brushSelect: false,
      textStyle: {color: shared.dim},
      fillerColor: 'rgba(86, 180, 233, 0.2)',
      showDataShadow: false,
    },
  ];
}

const short = (value) => {
  const size = Math.abs(value);
  if (value === 0) return '0';
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1).replace('.0e', 'e').replace('e+', 'e');
  return String(Number(value.toPrecision(4)));
};

/// Values of a parameter or metric over trials, as an axis: numbers (on a log axis where they span two decades), or
/// words as 0, 1, 2 … A value that is missing or not finite is null.
export function dimension(name, given) {
  const known = [...new Set(given.filter((value) => value !== null && value !== undefined && value !== ''))];
  const numbers = known.map(Number);
  if (known.length > 0 && numbers.every(Number.isFinite)) {
    let min = Infinity,
      max = -Infinity;
    for (const value of numbers) {
      min = Math.min(min, value);
      max = Math.max(max, value);
    }
    const values = given.map((value) => (value === null || value === undefined || value === '' ? null : Number(value)));
    const log = min > 0 && max / min >= 100;
    return {name, values, min, max, log, words: null, distinct: known.length, text: short};
  }
  const words = known.map(String).sort();
  const place = new Map(words.map((word, i) => [word, i]));
  return {
    name,
    values: given.map((value) => place.get(String(value)) ?? null),
    min: -0.5,
    max: words.length - 0.5,
    log: false,
    words,
    distinct: words.length,
    text: (value) => words[Math.round(value)] ?? '',
  };
}

/// ECharts' axis of a dimension, its ends where the values end.
export function axisOf(shared, dim, more = {}) {
  const flat = dim.min === dim.max;
  const places = dim.words?.map((_, i) => i);
  const room = dim.words ? 0 : (dim.max - dim.min) * 0.03;
  const ends = dim.log
    ? {min: dim.min / 1.1, max: dim.max * 1.1}
    : {min: flat ? dim.min - 1 : dim.min - room, max: flat ? dim.max + 1 : dim.max + room};
  return axis(shared, {
    type: dim.log ? 'log' : 'value',
    name: dim.name,
    ...ends,
    ...(dim.words ? {axisTick: {customValues: places}} : {}),
    ...more,
    axisLabel: {
      formatter: (value) => dim.text(value),
      textBorderColor: shared.panel,
      textBorderWidth: 3,
      ...(dim.words ? {customValues: places} : {showMinLabel: false, showMaxLabel: false}),
      ...more.axisLabel,
    },
  });
}

/// The colours of a metric; a few outliers do not make all others alike.
export function colourScale(shared, dim, more = {}) {
  const sorted = dim.values.filter((value) => value !== null).sort((a, b) => a - b);
  const at = (share) => sorted[Math.floor(share * (sorted.length - 1))];
  let min = sorted.length > 20 ? at(0.05) : sorted[0];
  let max = sorted.length > 20 ? at(0.95) : sorted.at(-1);
  if (!(max > min)) [min, max] = [dim.min - 0.5, dim.max + 0.5];
  return {
    type: 'continuous',
    min,
    max,
    inRange: {color: shared.ramp},
    orient: 'vertical',
    right: 0,
    top: 'middle',
    itemHeight: 120,
    itemWidth: 12,
    textStyle: {color: shared.dim, fontSize: 11},
    text: [dim.text(max), dim.text(min)],
    formatter: (value) => dim.text(value),
    ...more,
  };
}

/// Exponential moving average, as TensorBoard's: corrected for its start, null where nothing is.
export function smooth(values, weight) {
  if (!(weight > 0)) return values;
  let sum = 0,
    mass = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return sum / mass;
  });
}

const dashes = ['solid', 'dashed', 'dotted'];

/// Curves over steps: `curves` are {name, steps, values}; a name may be clicked where the chart says so.
export function curvesOption(shared, curves, {smoothing = 0, log = false, legend = true, zoomable = true} = {}) {
  const many = curves.length > 12;
  const series = curves.map((curve, i) => {
    const values = smooth(curve.values, smoothing);
    const colour = shared.palette[i % shared.palette.length];
    return {
      type: 'line',
      name: curve.name,
      showSymbol: curve.steps.length < 2,
      symbolSize: 6,
      triggerLineEvent: true,
      data: curve.steps.map((step, k) => [step, log && !(values[k] > 0) ? null : values[k]]),
      lineStyle: {
        width: many ? 1.2 : 1.8,
        opacity: many ? 0.75 : 1,
        type: dashes[Math.floor(i / shared.palette.length) % dashes.length],
      },
      itemStyle: {color: colour},
      emphasis: {focus: 'series', lineStyle: {width: 3}},
      connectNulls: true,
    };
  });
  const lines = (points) => {
    const shown = points.filter((point) => point.value[1] !== null && point.value[1] !== undefined);
    shown.sort((a, b) => b.value[1] - a.value[1]);
    const rows = shown
      .slice(0, 14)
      .map((point) => [
        el('i', {class: 'dot', style: {background: point.color}}),
        `${point.seriesName}: ${number(point.value[1])}`,
      ]);
    const step = points.length > 0 ? Math.round(points[0].axisValue) : 0;
    return [
      `step ${step.toLocaleString('en')}`,
      ...rows,
      ...(shown.length > 14 ? [`… ${shown.length - 14} more`] : []),
    ];
  };
  return {
    tooltip: tooltip(shared, 'axis', lines),
    legend: {
      show: legend && curves.length <= 24,
      type: 'scroll',
      top: 0,
      textStyle: {color: shared.text},
      pageTextStyle: {color: shared.text},
      pageIconColor: shared.text,
      pageIconInactiveColor: shared.line,
      icon: 'circle',
      itemWidth: 10,
      itemHeight: 12,
    },
    grid: {
      left: 8,
      right: 16,
      top: legend && curves.length <= 24 ? 34 : 12,
      bottom: zoomable ? 34 : 8,
      containLabel: true,
    },
    xAxis: axis(shared, {type: 'value', min: 'dataMin', max: 'dataMax', axisLabel: {formatter: short}}),
    yAxis: axis(shared, {type: log ? 'log' : 'value', scale: true, axisLabel: {formatter: short}}),
    dataZoom: zoomable ? zoom(shared) : [],
    series,
  };
}
