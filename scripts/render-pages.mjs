/**
 * Draws the demo's sample pages and writes the true text beside them: demo/pages/{invoice.png,columns.png,scan.jpg}
 * and the same names with .txt, one line of text per line, in reading order.
 *
 *     apt-get install fonts-liberation2 fonts-crosextra-carlito      # only this script needs fonts
 *     node scripts/render-pages.mjs
 *
 * The pictures are committed; nobody needs to draw them again. What a page says and what its .txt says come from one
 * list, so they cannot differ. Noise comes from a seed. It deliberately writes no boxes: the text is the truth.
 */
import { writeFileSync } from 'node:fs';
import sharp from 'sharp';

const pages = new URL('../demo/pages/', import.meta.url);
/** A4 at 150 dpi. */
const WIDTH = 1240;
const HEIGHT = 1754;

const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** A page collects drawings and lines of text. `row` draws cells that are read as one line, from left to right. */
function createPage({ font, size, ink = '#111' }) {
  const shapes = [];
  const lines = [];
  return {
    lines,
    row(y, ...cells) {
      for (const cell of cells) {
        const style = { font, size, ink, weight: 400, anchor: 'start', style: 'normal', spacing: 0, ...cell };
        shapes.push(
          `<text x="${cell.x}" y="${y}" font-family="${style.font}" font-size="${style.size}" font-weight="${style.weight}" ` +
            `font-style="${style.style}" letter-spacing="${style.spacing}" text-anchor="${style.anchor}" fill="${style.ink}">${escape(cell.text)}</text>`,
        );
      }
      lines.push(cells.map((cell) => cell.text).join(' '));
    },
    shape(svg) {
      shapes.push(svg);
    },
    svg: () => Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}">${shapes.join('\n')}</svg>`),
  };
}

const rule = (x, y, width, height, ink) => `<rect x="${x}" y="${y}" width="${width}" height="${height}" fill="${ink}"/>`;

/** Breaks a paragraph into lines of at most `length` characters. */
function wrap(paragraph, length) {
  const lines = [];
  let line = '';
  for (const word of paragraph.split(' ')) {
    if (line && line.length + 1 + word.length > length) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return [...lines, line];
}

// ------------------------------------------------------------------------------------------------------------ invoice

function invoice() {
  const page = createPage({ font: 'Liberation Sans', size: 24 });
  const blue = '#1d3f72';
  const grey = '#555';
  page.shape(rule(0, 0, WIDTH, HEIGHT, '#fff'));
  page.shape(rule(0, 0, WIDTH, 26, blue));
  page.shape(`<g transform="translate(96 84)"><path d="M0 64 L36 0 L72 64 Z" fill="${blue}"/><circle cx="36" cy="44" r="11" fill="#fff"/></g>`);
  page.row(118, { x: 190, text: 'Northgate Instruments Ltd', size: 36, weight: 700, ink: blue }, { x: 1144, text: 'INVOICE', size: 46, weight: 700, anchor: 'end', ink: blue });
  page.row(156, { x: 190, text: 'Calibration and repair of measuring equipment', size: 21, ink: grey });

  const label = (text, x = 760) => ({ x, text, ink: grey, size: 22 });
  page.row(260, { x: 96, text: 'Bill to', weight: 700, ink: blue }, label('Invoice number'), { x: 1144, text: 'NI-2024-00817', anchor: 'end', weight: 700 });
  page.row(298, { x: 96, text: 'Harbour View Laboratories' }, label('Invoice date'), { x: 1144, text: '14 March 2024', anchor: 'end' });
  page.row(336, { x: 96, text: 'Attn: Margaret Ellison' }, label('Due date'), { x: 1144, text: '13 April 2024', anchor: 'end' });
  page.row(374, { x: 96, text: '27 Quayside Road' }, label('Customer number'), { x: 1144, text: '40318', anchor: 'end' });
  page.row(412, { x: 96, text: 'Bristol BS1 6XN' }, label('Purchase order'), { x: 1144, text: 'HV-55291', anchor: 'end' });

  const columns = [{ x: 112 }, { x: 690, anchor: 'end' }, { x: 900, anchor: 'end' }, { x: 1128, anchor: 'end' }];
  const tableRow = (y, cells, style = {}) => page.row(y, ...cells.map((text, index) => ({ ...columns[index], text, ...style })));
  page.shape(rule(96, 486, 1048, 52, blue));
  tableRow(520, ['Description', 'Quantity', 'Unit price', 'Amount'], { ink: '#fff', weight: 700, size: 23 });
  const items = [
    ['Pressure gauge calibration', '12', '38.50', '462.00'],
    ['Torque wrench calibration', '8', '44.00', '352.00'],
    ['Digital caliper, 150 mm', '5', '61.75', '308.75'],
    ['Thermocouple probe, type K', '20', '17.90', '358.00'],
    ['Replacement display module', '3', '129.00', '387.00'],
    ['Repair labour (hours)', '6', '72.50', '435.00'],
    ['Certificate of conformity', '28', '4.25', '119.00'],
    ['Courier collection and return', '1', '36.00', '36.00'],
  ];
  items.forEach((cells, index) => {
    const y = 538 + index * 54;
    if (index % 2 === 1) page.shape(rule(96, y, 1048, 54, '#eef2f8'));
    tableRow(y + 35, cells);
  });
  const end = 538 + items.length * 54;
  page.shape(rule(96, end, 1048, 3, blue));

  const total = (y, name, value, style = {}) => page.row(y, { x: 760, text: name, ...style }, { x: 1128, text: value, anchor: 'end', ...style });
  total(end + 48, 'Subtotal', '2,457.75');
  total(end + 90, 'Discount 5%', '-122.89');
  total(end + 132, 'VAT 20%', '466.97');
  page.shape(rule(744, end + 154, 400, 2, grey));
  total(end + 196, 'Total due', 'GBP 2,801.83', { weight: 700, size: 28 });

  page.row(1280, { x: 96, text: 'Payment', weight: 700, ink: blue });
  page.row(1318, { x: 96, text: 'Please pay by bank transfer within 30 days of the invoice date.' });
  page.row(1356, { x: 96, text: 'Bank: Severn Mutual' });
  page.row(1394, { x: 96, text: 'Sort code: 20-45-77' });
  page.row(1432, { x: 96, text: 'Account: 63920184' });
  page.row(1470, { x: 96, text: 'Reference: NI-2024-00817' });
  page.shape(rule(96, 1600, 1048, 2, '#bbb'));
  page.row(1640, { x: 620, anchor: 'middle', size: 20, ink: grey, text: 'Unit 4, Foundry Lane, Reading RG1 8DB | Tel. 0118 496 0214 | accounts@northgate.example' });
  page.row(1672, { x: 620, anchor: 'middle', size: 20, ink: grey, text: 'Company number 07731459 | VAT number GB 918 2207 36' });
  return page;
}

// ------------------------------------------------------------------------------------------------------------ columns

const article = [
  { heading: 'What the light must do' },
  'A lighthouse has one task, and it is a simple one: be seen, and be known for what it is. A ship that sees a light but takes it for another is worse off than a ship that sees nothing at all. So each tower was given a rhythm of its own, printed in the list of lights that every master carried.',
  'The rhythm mattered more than the brightness. In 1875 a light of the first order could be seen from 20 miles away on a clear night, yet fog would cut that to a few hundred yards. A dim light with a certain rhythm still told a captain where he stood.',
  { heading: 'The keeper and the clock' },
  'Turning the great lens was the work of a falling weight, wound up by hand every four hours. The keeper was on watch not because the machine needed him each minute, but because it would need him at some minute that nobody could name. When the clockwork stopped, he turned the lens by hand and counted the seconds aloud.',
  'Keepers wrote down every stop in the log: the time, the cause and how long the light had stood still. Reading those logs today, one finds that most stops were short. The weight had jammed, or ice had formed on the bearings, or the oil was cold and thick.',
  { heading: 'Two keepers, not one' },
  'After 1801 the rule was that no tower should be left with one man alone. The rule was paid for with a sad story, as rules often are. One keeper had died during a long storm, and the other kept both the watch and the body until a boat could land.',
  'With three men on the rock, one could fall ill and one could sleep, and the light still turned. It cost more in wages and bread. Nobody who had been at sea in winter thought that the money was badly spent.',
  { heading: 'What the records show' },
  'Of 412 nights in the log of 1883 and 1884, the light failed on nine. The longest failure lasted 37 minutes. On seven of the nine nights the second keeper had been called before the first gave up his own attempt, which was exactly what the book of rules had asked for.',
  'The keepers of those years left few letters. What they thought of their work can be read only from what they did: the oil was measured, the glass was wiped, and the page for each night was signed by two hands.',
  { heading: 'After the keepers' },
  'The last keeper left in 1988, and a small box of switches took the place of the men. It has two lamps and a motor to swap them. When both have failed it sends a message ashore, and then somebody still has to take the boat.',
];

/** A lighthouse by night, 500 x 350: a page with nothing but text would be too easy to find text on. */
const drawing = (x, y) => `<g transform="translate(${x} ${y})">
  <rect width="500" height="350" fill="#3c4653"/>
  <path d="M235 92 L0 20 L0 120 Z M265 92 L500 40 L500 150 Z" fill="#c9c6a4" opacity="0.55"/>
  <path d="M0 290 Q120 250 250 285 T500 275 L500 350 L0 350 Z" fill="#20262e"/>
  <path d="M228 290 L236 112 L264 112 L272 290 Z" fill="#e8e6df"/>
  <path d="M232 210 L268 210 L270 245 L230 245 Z M234 140 L266 140 L267 170 L233 170 Z" fill="#9a3b32"/>
  <path d="M234 112 L234 80 L250 62 L266 80 L266 112 Z" fill="#f5e7a0" stroke="#20262e" stroke-width="4"/>
</g>`;

function columns() {
  const page = createPage({ font: 'Liberation Serif', size: 25 });
  page.shape(rule(0, 0, WIDTH, HEIGHT, '#fff'));
  page.row(100, { x: 620, anchor: 'middle', size: 20, spacing: 3, ink: '#444', text: 'THE COASTAL REVIEW' });
  page.shape(rule(90, 120, 1060, 2, '#222'));
  page.row(190, { x: 620, anchor: 'middle', size: 54, weight: 700, text: 'Keeping the Light' });
  page.row(238, { x: 620, anchor: 'middle', size: 26, style: 'italic', text: 'How lighthouse crews made sure that somebody was always awake' });
  page.row(284, { x: 620, anchor: 'middle', size: 22, text: 'by Eleanor Whitcombe' });
  page.shape(rule(90, 312, 1060, 2, '#222'));

  const lines = article.flatMap((part) =>
    typeof part === 'string' ? [...wrap(part, 47).map((text) => ({ text })), { gap: 14 }] : [{ gap: 12 }, { text: part.heading, heading: true }, { gap: 6 }],
  );
  const bottom = 1640;
  let x = 90;
  let y = 370;
  for (const line of lines) {
    if (line.gap) {
      if (y > 370) y += line.gap;
      continue;
    }
    if (y > bottom) [x, y] = [650, 370];
    page.row(y, line.heading ? { x, text: line.text, font: 'Liberation Sans', weight: 700, size: 25 } : { x, text: line.text });
    y += 34;
  }
  page.shape(drawing(650, 1240));
  page.row(1632, { x: 650, size: 21, style: 'italic', text: 'The tower at Gannet Point, drawn in 1902' });
  page.row(1700, { x: 620, anchor: 'middle', size: 20, ink: '#444', text: '42' });
  return page;
}

// --------------------------------------------------------------------------------------------------------------- scan

function letter() {
  const page = createPage({ font: 'Carlito', size: 28, ink: '#26262c' });
  const mono = 'Liberation Mono';
  page.row(150, { x: 130, text: 'ASHDOWN VALLEY WATER', size: 36, weight: 700 });
  page.row(190, { x: 130, text: 'Field Services, Pump House 3, Mill Lane, Ashdown', size: 24 });
  page.shape(rule(130, 212, 980, 3, '#333'));
  page.row(282, { x: 130, text: 'Inspection report', size: 32, weight: 700 }, { x: 800, text: 'No. 2231-B', size: 28, font: mono });
  page.row(330, { x: 130, text: 'Date: 9 November 2023' }, { x: 800, text: 'Inspector: R. Okafor' });
  page.row(372, { x: 130, text: 'Site: Reservoir road, valve chamber 17' });

  const body = [
    'The chamber was opened at 08:40 and found dry. The main gate valve moves',
    'freely over its full travel of 42 turns. The packing of the spindle shows a',
    'slow leak of about 3 drops per minute, which is within the limit for this',
    'type. No action is needed before the next inspection.',
  ];
  body.forEach((text, index) => page.row(446 + index * 42, { x: 130, text }));

  page.shape(`<rect x="130" y="640" width="980" height="378" fill="none" stroke="#333" stroke-width="3"/>`);
  page.shape(rule(130, 696, 980, 3, '#333'));
  const cells = [
    ['Measurement', 'Expected', 'Found', 'Result'],
    ['Inlet pressure (bar)', '6.2', '6.15', 'pass'],
    ['Outlet pressure (bar)', '3.0', '3.04', 'pass'],
    ['Flow at 50% (l/s)', '18.5', '17.9', 'pass'],
    ['Battery voltage (V)', '12.6', '11.2', 'FAIL'],
    ['Chlorine (mg/l)', '0.45', '0.41', 'pass'],
    ['Door contact', 'closed', 'closed', 'pass'],
  ];
  cells.forEach((row, index) =>
    page.row(680 + index * 53, ...row.map((text, column) => ({ x: [150, 560, 760, 960][column], text, weight: index === 0 ? 700 : 400 }))),
  );

  const rest = [
    'The battery of the telemetry unit must be replaced. It was fitted in May 2017',
    'and has now reached the end of its life. Until then the alarm of this chamber',
    'may be late by up to 15 minutes, because the unit sleeps to save power.',
  ];
  rest.forEach((text, index) => page.row(1090 + index * 42, { x: 130, text }));
  page.row(1270, { x: 130, text: 'Ordered: 1 battery 12 V 24 Ah, part number 880-4417', font: mono, size: 24 });
  page.row(1312, { x: 130, text: 'Cost centre 5102, budget holder: J. Lindqvist', font: mono, size: 24 });
  page.shape('<path d="M150 1420 c30 -70 55 -40 40 10 s-20 30 10 -10 s40 -50 50 -10 s-10 30 20 0 s40 -30 60 -5 s30 10 70 -20" fill="none" stroke="#27357a" stroke-width="4"/>');
  page.row(1490, { x: 130, text: 'R. Okafor, senior inspector' });
  page.row(1532, { x: 130, text: 'Copy to: regional office, stores' });
  return page;
}

/** mulberry32, so that every run draws the same noise. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * What a hurried scan does to a sheet: it lies askew on a grey lid, the lamp is brighter on one side, a fold throws a
 * shadow, the sensor adds noise, the optics blur and JPEG finishes it.
 */
async function scanned(svg) {
  const sheet = await sharp({ create: { width: WIDTH, height: HEIGHT, channels: 3, background: '#f3f0e6' } }).composite([{ input: svg }]).png().toBuffer();
  const skewed = await sharp(sheet).rotate(-2.6, { background: '#8d8f90' }).blur(0.9).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const { width, height, channels } = skewed.info;
  const { data } = skewed;
  const next = random(1883);
  for (let y = 0; y < height; y++) {
    const fold = 0.09 * Math.exp(-(((y - height * 0.52) / 26) ** 2));
    for (let x = 0; x < width; x++) {
      const light = 1.02 - 0.3 * (x / width) ** 2 - 0.14 * (y / height) - fold;
      // The sum of four uniform numbers is close enough to a normal distribution.
      const noise = (next() + next() + next() + next() - 2) * 34;
      const speck = next() < 0.0006 ? -90 : 0;
      for (let channel = 0; channel < channels; channel++) {
        const at = (y * width + x) * channels + channel;
        data[at] = Math.max(0, Math.min(255, data[at] * light + noise + speck));
      }
    }
  }
  return sharp(data, { raw: { width, height, channels } }).blur(0.5).jpeg({ quality: 48, mozjpeg: true }).toBuffer();
}

// -------------------------------------------------------------------------------------------------------------- write

function write(name, extension, bytes, lines) {
  writeFileSync(new URL(`${name}.${extension}`, pages), bytes);
  writeFileSync(new URL(`${name}.txt`, pages), `${lines.join('\n')}\n`);
  console.log(`demo/pages/${name}.${extension}: ${Math.round(bytes.length / 1024)} KiB, ${lines.length} lines`);
}

const clean = (page) => sharp(page.svg()).flatten({ background: '#fff' }).png({ palette: true, colours: 32, effort: 10 }).toBuffer();

const bill = invoice();
write('invoice', 'png', await clean(bill), bill.lines);
const text = columns();
write('columns', 'png', await clean(text), text.lines);
const report = letter();
write('scan', 'jpg', await scanned(report.svg()), report.lines);
