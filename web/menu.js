// @ts-check
// Owns the menu that is open, with the keys that people know from menus. Knows nothing of its entries.

import { el, icon } from './dom.js';

/**
 * @typedef {object} Entry
 * @property {string} label
 * @property {() => void} run
 * @property {boolean} [checked] Makes the entry one of several choices.
 */

/** In px: the distance from the edges of the window. */
const MARGIN = 8;

/** @type {(() => void) | null} */
let closeOpen = null;

/** Closes the menu without any effect. */
export const closeMenu = () => closeOpen?.();

/**
 * Opens a menu at a button; closes it if it is open there.
 * @param {HTMLElement} button
 * @param {string} label For screen readers.
 * @param {Entry[]} entries
 * @param {() => HTMLElement | null} [opener] Where the focus returns to: the button may be built anew meanwhile.
 */
export function openMenu(button, label, entries, opener = () => button) {
	const wasOpen = button.ariaExpanded === 'true';
	closeOpen?.();
	if (wasOpen) return;
	const items = entries.map(({ label, run, checked }) => {
		const role = checked === undefined ? 'menuitem' : 'menuitemradio';
		const item = el(
			'button',
			{ role, type: 'button', tabindex: '-1' },
			checked && icon('stored'),
			el('span', {}, label),
		);
		if (checked !== undefined) item.ariaChecked = String(checked);
		item.onclick = () => {
			close();
			run();
		};
		item.onpointerenter = () => item.focus({ preventScroll: true });
		return item;
	});
	const menu = el('div', { role: 'menu', class: 'menu', 'aria-label': label }, ...items);
	const ends = new AbortController();

	/** @param {boolean} [returns] Whether the focus returns. */
	function close(returns = true) {
		if (closeOpen !== close) return;
		closeOpen = null;
		ends.abort();
		const hadFocus = menu.contains(document.activeElement);
		menu.remove();
		button.ariaExpanded = 'false';
		const back = opener();
		if (back) back.ariaExpanded = 'false';
		if (returns && hadFocus) back?.focus({ preventScroll: true });
	}

	/** @param {KeyboardEvent} event */
	menu.onkeydown = (event) => {
		// No key reaches the page behind the menu.
		event.stopPropagation();
		const { key } = event;
		const at = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
		const next = nextIndex(items, at, key);
		if (next >= 0) items[next].focus();
		else if (key === 'Escape' || key === 'Tab') close();
		else if (key === 'Enter' || key === ' ' || event.ctrlKey || event.metaKey) return;
		event.preventDefault();
	};
	addEventListener(
		'pointerdown',
		(event) => {
			const target = /** @type {Node} */ (event.target);
			// The button closes the menu by itself.
			if (!menu.contains(target) && !button.contains(target)) close(false);
		},
		{ capture: true, signal: ends.signal },
	);
	// The keyboard of a phone goes when the menu takes the focus.
	const placeAgain = () => requestAnimationFrame(() => place(menu, (opener() ?? button).getBoundingClientRect()));
	addEventListener('resize', placeAgain, { signal: ends.signal });
	for (const event of ['hashchange', 'blur'])
		addEventListener(event, ({ target }) => target === window && close(false), { signal: ends.signal });

	closeOpen = close;
	button.ariaExpanded = 'true';
	document.body.append(menu);
	place(menu, button.getBoundingClientRect());
	(items.find((item) => item.ariaChecked === 'true') ?? items[0]).focus({ preventScroll: true });
}

/**
 * Where a key moves the focus to; -1 if it is no such key.
 * @param {HTMLElement[]} items
 * @param {number} at
 * @param {string} key
 */
function nextIndex(items, at, key) {
	const count = items.length;
	if (key === 'ArrowDown') return (at + 1) % count;
	if (key === 'ArrowUp') return (Math.max(at, 0) - 1 + count) % count;
	if (key === 'Home') return 0;
	if (key === 'End') return count - 1;
	if ([...key].length !== 1 || key === ' ') return -1;
	// A letter moves to the next entry that begins with it.
	const after = [...items.keys()].map((index) => (at + 1 + index) % count);
	const begins = (/** @type {string | null} */ text) => text?.toLowerCase().startsWith(key.toLowerCase());
	return after.find((index) => begins(items[index].textContent)) ?? -1;
}

/**
 * Below the button or above it, where there is room.
 * @param {HTMLElement} menu
 * @param {DOMRect} at
 */
function place(menu, at) {
	const { width, height } = menu.getBoundingClientRect();
	const isRight = at.left + at.right > innerWidth;
	const left = Math.min(isRight ? at.right - width : at.left, innerWidth - width - MARGIN);
	const below = at.bottom + height + MARGIN <= innerHeight;
	const top = below ? at.bottom : Math.min(at.top, innerHeight - MARGIN) - height;
	menu.style.left = `${Math.max(MARGIN, left)}px`;
	menu.style.top = `${Math.max(MARGIN, top)}px`;
}
