// Charts of a sweep's trials: how the metric depends on the parameters. Each is an ECharts option made of `rows`
// (trials) and dimensions (charts.js) over them.

import {axis, axisOf, colourScale, tooltip, zoom} from '/assets/charts.js';
import {number} from '/assets/dom.js';

const large = 4000; // points from which ECharts draws a scatter in one go, without a colour for each

/// What a point says when pointed at: the trial and the values of the dimensions.
const about = (rows, dims) => (given) => {
  const at = given.data?.[given.data.length - 1];
  const row = rows[at];
  if (!row) return [];
  return [
    `trial ${row.trial}${row.variant ? ` · ${row.variant}` : ''}`,
    ...dims.map((dim) => `${dim.name}: ${dim.words ? dim.text(dim.values[at]) : number(dim.values[at])}`),
  ];
};

/// Points of two dimensions that have both; the last number of each is its row.
function points(x, y, more = []) {
  const data = [];
  for (let i = 0; i < x.values.length; ++i) {
    if (x.values[i] !== null && y.values[i] !== null)
      data.push([x.values[i], y.values[i], ...more.map((dim) => dim.values[i]), i]);
  }
  return data;
}

/// Every trial a line over its parameters, coloured by the metric; the best lie on top.
export function parallel(shared, dims, metric, maximize) {
  const data = [];
  for (let i = 0; i < metric.values.length; ++i) {
    if (metric.values[i] !== null) data.push([...dims.map((dim) => dim.values[i]), metric.values[i]]);
  }
  data.sort((a, b) => (maximize ? 1 : -1) * (a.at(-1) - b.at(-1)));
  const all = [...dims, metric];
  const opacity = Math.max(0.06, Math.min(0.8, 60 / data.length));
  return {
    visualMap: colourScale(shared, metric, {dimension: dims.length}),
    parallel: {left: 40, right: 120, top: 60, bottom: 24, axisExpandable: false},
    parallelAxis: all.map((dim, i) => ({
      ...axisOf(shared, dim),
      dim: i,
      nameLocation: 'end',
      nameRotate: all.length > 6 ? 20 : 0,
      nameGap: 14,
      nameTruncate: {maxWidth: 150},
      areaSelectStyle: {color: shared.palette[0], borderColor: shared.palette[0], opacity: 0.25},
    })),
    series: [
      {
        type: 'parallel',
        data,
        lineStyle: {width: 1.2, opacity},
        inactiveOpacity: 0.01,
        activeOpacity: 0.8,
        progressive: 2000,
        smooth: false,
      },
    ],
  };
}

/// Shares of the metric's variance that parameters, and pairs of them, account for.
export function importance(shared, found) {
  const shares = found.shares.slice(0, 15).reverse();
  return {
    tooltip: tooltip(shared, 'item', (given) => {
      const share = shares[given.dataIndex];
      return [given.name, `${number(share.share, 3)} ± ${number(share.deviation, 3)} of the variance`];
    }),
    grid: {left: 8, right: 60, top: 8, bottom: 8, containLabel: true},
    xAxis: axis(shared, {type: 'value', min: 0, axisLabel: {formatter: (value) => `${Math.round(value * 100)} %`}}),
    yAxis: axis(shared, {
      type: 'category',
      data: shares.map((each) => (each.with ? `${each.parameter} × ${each.with}` : each.parameter)),
      axisLabel: {color: shared.text, width: 200, overflow: 'truncate', interval: 0},
    }),
    series: [
      {
        type: 'bar',
        data: shares.map((each) => ({value: each.share, itemStyle: {color: shared.palette[each.with ? 2 : 0]}})),
        barMaxWidth: 18,
        label: {
          show: true,
          position: 'right',
          color: shared.text,
          formatter: (given) => `${(given.value * 100).toFixed(1)} %`,
        },
      },
    ],
  };
}

export function scatter(shared, rows, x, y, colour) {
  const data = points(x, y, colour ? [colour] : []);
  const coloured = colour && colour.values.some((value) => value !== null);
  return {
    tooltip: tooltip(shared, 'item', about(rows, colour ? [x, y, colour] : [x, y])),
    visualMap: coloured ? colourScale(shared, colour, {dimension: 2}) : [],
    grid: {left: 8, right: coloured ? 80 : 24, top: 30, bottom: 50, containLabel: true},
    xAxis: axisOf(shared, x, {nameLocation: 'middle', nameGap: 26}),
    yAxis: axisOf(shared, y, {nameTextStyle: {color: shared.dim, align: 'left'}}),
    dataZoom: zoom(shared),
    series: [
      {
        type: 'scatter',
        data,
        symbolSize: data.length > 1000 ? 5 : 8,
        itemStyle: {opacity: data.length > 1000 ? 0.6 : 0.85},
        large: !coloured,
        largeThreshold: large,
        progressive: 3000,
      },
    ],
  };
}

/// The mean of the metric over bins of two parameters, with the trials on it.
export function heatMap(shared, rows, x, y, metric) {
  const bins = (dim) => (dim.words ? dim.words.length : Math.min(16, Math.max(1, dim.distinct)));
  const place = (dim, value) => {
    if (dim.words) return value;
    const [low, high, at] = dim.log ? [dim.min, dim.max, value].map(Math.log) : [dim.min, dim.max, value];
    return high > low ? Math.min(bins(dim) - 1, Math.floor(((at - low) / (high - low)) * bins(dim))) : 0;
  };
  const edge = (dim, bin) => {
    if (dim.words) return bin - 0.5;
    if (dim.min === dim.max) return dim.min + (bin - 0.5);
    const share = bin / bins(dim);
    return dim.log ? dim.min * (dim.max / dim.min) ** share : dim.min + (dim.max - dim.min) * share;
  };
  const cells = new Map();
  const data = points(x, y, [metric]).filter((point) => point[2] !== null);
  for (const [a, b, value] of data) {
    const key = place(x, a) * 1000 + place(y, b);
    const cell = cells.get(key) ?? [0, 0];
    cells.set(key, [cell[0] + value, cell[1] + 1]);
  }
  const boxes = [...cells].map(([key, [sum, count]]) => {
    const a = Math.floor(key / 1000),
      b = key % 1000;
    return [edge(x, a), edge(y, b), sum / count, edge(x, a + 1), edge(y, b + 1), count];
  });
  return {
    tooltip: tooltip(shared, 'item', (given) =>
      given.seriesType === 'custom'
        ? [`mean ${metric.name}: ${number(given.data[2])}`, `${given.data[5]} trials`]
        : about(rows, [x, y, metric])(given),
    ),
    visualMap: colourScale(shared, metric, {dimension: 2, seriesIndex: 0}),
    grid: {left: 8, right: 80, top: 30, bottom: 30, containLabel: true},
    xAxis: axisOf(shared, x, {nameLocation: 'middle', nameGap: 26, splitLine: {show: false}}),
    yAxis: axisOf(shared, y, {splitLine: {show: false}, nameTextStyle: {color: shared.dim, align: 'left'}}),
    series: [
      {
        type: 'custom',
        data: boxes,
        encode: {x: [0, 3], y: [1, 4]},
        clip: true,
        renderItem: (params, api) => {
          const [left, top] = api.coord([api.value(0), api.value(4)]);
          const [right, bottom] = api.coord([api.value(3), api.value(1)]);
          const shape = {x: left, y: top, width: right - left - 1, height: bottom - top - 1};
          return {type: 'rect', shape, style: {fill: api.visual('color')}};
        },
      },
      {
        type: 'scatter',
        data,
        symbolSize: data.length > 1000 ? 2 : 5,
        large: true,
        largeThreshold: large,
        z: 3,
        itemStyle: {color: shared.text, opacity: data.length > 1000 ? 0.3 : 0.7},
      },
    ],
  };
}

/// Two metrics of a sweep for several: the trials that no other beats in all of them, joined where they are two.
export function pareto(shared, rows, x, y, joined) {
  const data = points(x, y);
  const on = (point) => rows[point.at(-1)].on_front,
    feasible = (point) => rows[point.at(-1)].feasible;
  const front = data.filter(on).sort((a, b) => a[0] - b[0]);
  const size = data.length > 1000 ? 4 : 7;
  return {
    tooltip: tooltip(shared, 'item', about(rows, [x, y])),
    legend: {top: 0, right: 8, textStyle: {color: shared.text}},
    grid: {left: 8, right: 24, top: 44, bottom: 50, containLabel: true},
    xAxis: axisOf(shared, x, {nameLocation: 'middle', nameGap: 26}),
    yAxis: axisOf(shared, y, {nameTextStyle: {color: shared.dim, align: 'left'}}),
    dataZoom: zoom(shared),
    series: [
      {
        type: 'scatter',
        name: 'beaten',
        data: data.filter((point) => !on(point) && feasible(point)),
        symbolSize: size,
        itemStyle: {color: shared.dim, opacity: 0.5},
        large: true,
        largeThreshold: large,
      },
      {
        type: 'scatter',
        name: 'breaks a constraint',
        data: data.filter((point) => !feasible(point)),
        symbolSize: size,
        symbol: 'diamond',
        itemStyle: {color: shared.palette[3], opacity: 0.6},
      },
      {
        type: 'line',
        name: 'Pareto front',
        data: front,
        symbol: 'circle',
        symbolSize: 9,
        step: false,
        itemStyle: {color: shared.palette[1]},
        lineStyle: {color: shared.palette[1], width: joined ? 1.5 : 0},
      },
    ],
  };
}
