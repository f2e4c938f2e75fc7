'use strict';

// Tables are sorted by a click on a heading: numbers from the largest, again from the smallest.
for (const table of document.querySelectorAll('table.sortable')) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    if (heading.classList.contains('unsorted')) return;
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener('click', () => {
      const text = table.tBodies[0].rows[0]?.cells[column].dataset.value === undefined;
      const first = text ? 'ascending' : 'descending';
      const second = text ? 'descending' : 'ascending';
      const order = heading.getAttribute('aria-sort') === first ? second : first;
      const sign = order === 'ascending' ? 1 : -1;
      for (const other of headings) other.removeAttribute('aria-sort');
      heading.setAttribute('aria-sort', order);
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => [valueOf(row.cells[column], text), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (text ? a.localeCompare(b) : a - b);
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}

// Unknown values are null, and stay at the end.
function valueOf(cell, text) {
  if (text) return cell.innerText.trim();
  return cell.dataset.value ? Number(cell.dataset.value) : null;
}

// Charts show the values of the moment under the pointer, or chosen with the arrow keys.
for (const svg of document.querySelectorAll('figure svg')) {
  const moments = [...svg.querySelectorAll('.moment')];
  if (!moments.length) continue;
  const texts = moments.map((moment) => {
    const title = moment.querySelector('title');
    title.remove();
    return title.textContent;
  });
  const output = document.createElement('output');
  output.hidden = true;
  svg.after(output);
  svg.tabIndex = 0;
  const colours = svg.dataset.colours.split(' ');
  let shown = -1;

  const show = (number) => {
    if (number === shown) return;
    moments[shown]?.classList.remove('shown');
    shown = number;
    output.hidden = number < 0;
    if (number < 0) return;
    moments[number].classList.add('shown');
    const [title, ...values] = texts[number].split('\n');
    output.replaceChildren(title, ...values.flatMap((value, line) => {
      const swatch = document.createElement('i');
      swatch.style.background = `var(--${colours[line] ?? colours.at(-1)})`;
      return ['\n', swatch, value];
    }));
    const { left, width } = moments[number].getBoundingClientRect();
    const chart = svg.getBoundingClientRect();
    output.classList.toggle('left', left + width / 2 > chart.left + chart.width / 2);
    output.style.top = `${chart.top - svg.parentElement.getBoundingClientRect().top}px`;
  };

  const point = ({ clientX, clientY }) => show(nearest(moments, clientX, clientY));
  svg.addEventListener('pointermove', point);
  svg.addEventListener('pointerdown', point);
  // A finger that leaves the chart has shown its values; the next tap elsewhere hides them.
  svg.addEventListener('pointerleave', ({ pointerType }) => pointerType === 'touch' || show(-1));
  document.addEventListener('pointerdown', ({ target }) => svg.contains(target) || show(-1));
  svg.addEventListener('focusout', () => show(-1));
  svg.addEventListener('keydown', (event) => {
    const last = moments.length - 1;
    const next = {
      ArrowRight: Math.min(last, shown + 1),
      ArrowLeft: Math.max(0, shown - 1),
      Home: 0,
      End: last,
      Escape: -1,
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    show(next);
  });
}

// The area that contains a point, or else the closest one.
function nearest(moments, x, y) {
  const distances = moments.map((moment) => {
    const { left, right, top, bottom } = moment.getBoundingClientRect();
    const outside = Math.hypot(
      Math.max(left - x, 0, x - right),
      Math.max(top - y, 0, y - bottom),
    );
    return outside + Math.hypot(x - (left + right) / 2, y - (top + bottom) / 2) / 1e6;
  });
  return distances.indexOf(Math.min(...distances));
}

for (const note of document.querySelectorAll('.scripted')) note.hidden = false;
