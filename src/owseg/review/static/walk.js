// Move the focus to the next tile to the left, to the right, up or down.
function moveFocus(direction) {
  const tiles = [...document.querySelectorAll(".tile")], here = tiles.indexOf(document.activeElement);
  const rows = tiles.map((tile) => tile.offsetTop), columns = Math.max(1, rows.filter((y) => y === rows[0]).length);
  const step = { Left: -1, Right: 1, Up: -columns, Down: columns }[direction], next = here < 0 ? 0 : here + step;
  tiles[next]?.focus();
}
addEventListener("keydown", (event) => {  // arrows move the focus and do not scroll
  if (event.key.startsWith("Arrow") && !event.target.closest("input, [role=slider]")) event.preventDefault();
}, true);
