// Runs before the first paint, so that a chosen theme does not flash: dark or light as stored, else as the system says.
document.documentElement.dataset.theme = (() => {
  let stored = null;
  try {
    stored = localStorage.getItem('theme');
  } catch {
    // storage may be forbidden; the system's preference then holds
  }
  if (stored === 'dark' || stored === 'light') return stored;
  return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
})();
