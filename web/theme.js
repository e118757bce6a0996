// Light or dark, before anything is drawn: the choice of this browser, or the system's. A classic script, so that nothing flashes.
(() => {
  const NAME = "attractor-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    const kept = localStorage.getItem(NAME);
    return kept === "dark" || kept === "light" ? kept : null;
  };
  const current = () => chosen() ?? (system.matches ? "dark" : "light");
  const apply = () => {
    document.documentElement.dataset.theme = current();
    document.dispatchEvent(new CustomEvent("themechange"));
  };

  /** The choice; the system's own is not kept, so that the page follows it again. */
  function choose(theme) {
    if (theme === (system.matches ? "dark" : "light")) localStorage.removeItem(NAME);
    else localStorage.setItem(NAME, theme);
    apply();
  }

  system.addEventListener("change", apply);
  apply();
  window.attractorTheme = { current, toggle: () => choose(current() === "dark" ? "light" : "dark") };
})();
