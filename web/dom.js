// @ts-check
// Builds elements. Text from users becomes text nodes, never HTML.

import { direction, fixed, language } from './strings.js';

/** @import { Elements } from './page.d.ts' */

/** @type {Record<string, string>} */
const ICONS = {
	back: 'M15 5l-7 7 7 7',
	announce: 'M4 10v4h3l9 5V5l-9 5zM19.5 9a4 4 0 0 1 0 6',
	all: 'M6 17V11a6 6 0 0 1 12 0v6l1.5 1.5h-15zM10 21h4M2.5 9A9 9 0 0 1 5 4.5M21.5 9A9 9 0 0 0 19 4.5',
	counted: 'M6 17V11a6 6 0 0 1 12 0v6l1.5 1.5h-15zM10 21h4',
	muted: 'M6 17V11a6 6 0 0 1 12 0v6l1.5 1.5h-15zM10 21h4M3 3l18 18',
	block: 'M12 3a9 9 0 1 0 .1 0M5.6 5.6l12.8 12.8',
	close: 'M6 6l12 12M18 6L6 18',
	failed: 'M12 3a9 9 0 1 0 .1 0M12 7v6M12 16.5v.1',
	link: 'M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1',
	more: 'M5 12h.1M12 12h.1M19 12h.1',
	out: 'M10 4H5v16h5M15 8l4 4-4 4M19 12H9',
	people: 'M9 4.5a3.5 3.5 0 1 0 .1 0M2.5 20c.5-4 3-6 6.5-6s6 2 6.5 6M16 5a3 3 0 0 1 0 6M18 14.5c2 .8 3 2.5 3.5 5.5',
	private: 'M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3',
	plus: 'M12 5v14M5 12h14',
	read: 'M2 12.5l5 5L16 7M12 17l.5.5L22 7',
	settings: 'M4 7h9M17 7h3M4 17h3M11 17h9M13 7a2 2 0 1 0 4 0a2 2 0 1 0-4 0M7 17a2 2 0 1 0 4 0a2 2 0 1 0-4 0',
	send: 'M12 19V5M6 11l6-6 6 6',
	stored: 'M5 12.5l5 5L19.5 7',
	waiting: 'M12 4a8 8 0 1 0 .1 0M12 7.5V12l3 2',
};

/**
 * The element of index.html with this id.
 * @template {keyof Elements} Id
 * @param {Id} id
 */
export const $ = (id) => /** @type {Elements[Id]} */ (document.getElementById(id));

/**
 * Builds an element. Properties `on…` become listeners, others become attributes unless they are falsy.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [props]
 * @param {...(Node | string | number | false | null | undefined)} children Falsy ones are left out.
 */
export function el(tag, props = {}, ...children) {
	const node = document.createElement(tag);
	for (const [key, value] of Object.entries(props)) {
		if (key.startsWith('on')) Object.assign(node, { [key]: value });
		else if (value) node.setAttribute(key, String(value));
	}
	node.append(.../** @type {(Node | string)[]} */ (children.filter(Boolean)));
	return node;
}

/** @param {string | undefined} name */
export function icon(name) {
	const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
	const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
	svg.setAttribute('viewBox', '0 0 24 24');
	svg.ariaHidden = 'true';
	path.setAttribute('d', ICONS[name ?? ''] ?? ICONS.waiting);
	svg.append(path);
	return svg;
}

/** Gives the elements of index.html their texts and icons. */
export function dress() {
	Object.assign(document.documentElement, { lang: language, dir: direction });
	/** @type {(key: string, set: (node: HTMLElement, value: string) => void) => void} */
	const each = (key, set) => {
		for (const node of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(`[data-${key}]`)))
			set(node, node.dataset[key] ?? '');
	};
	/** @param {string} key */
	const textOf = (key) => fixed[/** @type {keyof typeof fixed} */ (key)];
	each('text', (node, key) => node.append(textOf(key)));
	each('title', (node, key) => (node.title = textOf(key)));
	each('label', (node, key) => (node.ariaLabel = textOf(key)));
	each('icon', (node, name) => node.prepend(icon(name)));
}

/** @param {string} text Only for screen readers. */
export const spoken = (text) => el('span', { class: 'sr' }, text);

/**
 * Lets screen readers speak a text. It needs a region that was in the page before: text that appears together with its
 * region is often not spoken.
 * @param {string} text
 */
export const announce = (text) => ($('live').textContent = text);

/**
 * Sets the text of an element if it has changed: screen readers would speak an unchanged alert again.
 * @param {HTMLElement} node
 * @param {string} text
 */
export function say(node, text) {
	if (node.textContent !== text) node.textContent = text;
}

/**
 * Gives an element the colour of a user.
 * @template {HTMLElement} T
 * @param {T} node
 * @param {string} name
 */
export function tint(node, name) {
	let hash = 7;
	for (const char of name) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 16777619);
	node.style.setProperty('--hue', String(hash % 360));
	return node;
}

/**
 * The avatar of a user.
 * @param {string} name
 * @param {boolean} [online] With a dot that shows the presence, unless it is undefined.
 */
export function face(name, online) {
	const [letter] = /[\p{L}\p{N}\p{Extended_Pictographic}]/u.exec(name) ?? '?';
	const dot = online !== undefined && el('span', { class: online ? 'dot here' : 'dot' });
	return tint(el('span', { class: 'avatar', 'aria-hidden': true }, letter.toUpperCase(), dot), name);
}

/** A random UUID. `crypto.randomUUID` exists only with https. */
export function uuid() {
	const random = crypto.getRandomValues(new Uint8Array(36));
	return 'xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx'.replace(/x/g, (_, at) => (random[at] & 15).toString(16));
}

/** @param {string} name The result is the form that the server uses. */
export const tidy = (name) => name.trim().normalize('NFC');
