// Owns how elements are built: text only ever becomes a text node, so nothing that a person wrote can turn into markup.
// It knows nothing of chat. Every view calls it.

const SVG = 'http://www.w3.org/2000/svg';

export const $ = (id) => document.getElementById(id);

/** An element. `on…` properties are listeners; other properties are attributes, left out where null or false. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value == null || value === false) continue;
    if (key.startsWith('on')) node[key] = value;
    else node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child != null && child !== false));
  return node;
}

/** A symbol from the sprite in index.html. Decoration: the words beside it, or the button's label, carry the meaning. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  const use = document.createElementNS(SVG, 'use');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Words for screen readers alone. */
export const spoken = (text) => el('span', { class: 'sr' }, text);

/** Replaces the text only where it differs, so that live regions and selections are left in peace. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A hue that is the same for a name on every screen. */
export function hue(name) {
  let hash = 7;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)) >>> 0;
  return (hash * 47) % 360;
}

export function avatar(name) {
  const letter = [...name].find((char) => /[\p{L}\p{N}\p{Extended_Pictographic}]/u.test(char)) ?? '?';
  const node = el('span', { class: 'avatar', 'aria-hidden': 'true' }, letter.toUpperCase());
  node.style.setProperty('--hue', hue(name));
  return node;
}

/** Random, and unlike crypto.randomUUID also there on a plain http:// address in a local network. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** As the server reads a name: trimmed, NFC. It decides whether the name is good. */
export const tidy = (name) => name.trim().normalize('NFC');
