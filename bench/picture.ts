import { ownSubject, type Row } from './report.ts';

/** Layout, in pixels. */
const width = 760;
const labelWidth = 190;
/** Of the value behind the longest bar, with its ratio. */
const valueWidth = 125;
const barHeight = 14;
const barGap = 3;
const caseGap = 22;
const top = 46;

/** How a subject is drawn: ours stands out, also without colours. */
const ownColour = '#0b6e4f';
const peerColours = ['#9aa5b1', '#b8c1ca', '#d3d9df'];

/**
 * A picture of one metric of every case that has it: a bar a subject, the longest in each case as long as the picture is wide, with its value. Plain SVG without
 * script, font or link, readable on light and on dark.
 *
 * @param metrics the first of these that a case has is drawn
 * @param caption says what was measured, when and where
 */
export function pictureOf(rows: readonly Row[], metrics: readonly string[], caption: string): string {
  const cases = [...new Set(rows.map((row) => row.case))].flatMap((name) => {
    const metric = metrics.find((one) => rows.some((row) => row.case === name && row.metric === one));
    return metric === undefined ? [] : [rows.filter((row) => row.case === name && row.metric === metric)];
  });
  let y = top;
  const parts: string[] = [];
  for (const bars of cases) {
    const longest = Math.max(...bars.map((row) => row.value));
    parts.push(text(0, y + 11, `${bars[0]?.case ?? ''}, ${bars[0]?.unit ?? ''}`, 'bold'));
    y += 18;
    let peers = 0;
    for (const row of bars) {
      const own = row.subject === ownSubject;
      const colour = own ? ownColour : (peerColours[peers++ % peerColours.length] ?? ownColour);
      const length = Math.max(1, ((width - labelWidth - valueWidth) * row.value) / longest);
      parts.push(text(8, y + 11, row.subject));
      parts.push(
        `<rect x="${labelWidth}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" fill="${colour}"/>`,
      );
      parts.push(text(labelWidth + length + 6, y + 11, shown(row)));
      y += barHeight + barGap;
    }
    y += caseGap;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y}" viewBox="0 0 ${width} ${y}" role="img" font-family="sans-serif" font-size="12">
<title>${escaped(caption)}</title>
<rect width="${width}" height="${y}" fill="#ffffff"/>
${text(0, 16, caption)}
${parts.join('\n')}
</svg>
`;
}

function shown({ value, ratioToBest }: Row): string {
  const figure = value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
  return ratioToBest === null ? figure : `${figure} (x${ratioToBest.toFixed(2)})`;
}

function text(x: number, y: number, content: string, weight = 'normal'): string {
  return `<text x="${x + 8}" y="${y}" font-weight="${weight}" fill="#1f2933">${escaped(content)}</text>`;
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
