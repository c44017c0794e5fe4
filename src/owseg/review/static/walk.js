// Arrow keys among tiles: the next one to that side.
function walk(to) {
  const tiles = [...document.querySelectorAll(".tile")], here = tiles.indexOf(document.activeElement);
  const rows = tiles.map((tile) => tile.offsetTop), columns = Math.max(1, rows.filter((y) => y === rows[0]).length);
  const step = { Left: -1, Right: 1, Up: -columns, Down: columns }[to], next = here < 0 ? 0 : here + step;
  tiles[next]?.focus();
}
addEventListener("keydown", (event) => {  // the page is walked through, not scrolled
  if (event.key.startsWith("Arrow") && !event.target.closest("input, [role=slider]")) event.preventDefault();
}, true);
