// @ts-check
// Builds menus, with the keys that people know from them. Knows nothing of their entries.

import { el, icon } from './dom.js';
import { openPopup } from './popup.js';

/**
 * @typedef {object} Entry
 * @property {string} label
 * @property {() => void} run
 * @property {boolean} [checked] Makes the entry one of several choices.
 */

/**
 * Opens a menu at a button; closes it if it is open there.
 * @param {HTMLElement} button
 * @param {string} label For screen readers.
 * @param {Entry[]} entries
 * @param {() => HTMLElement | null} [opener] Where the focus returns to: the button may be built anew meanwhile.
 */
export function openMenu(button, label, entries, opener = () => button) {
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
			close?.();
			run();
		};
		// Only a pointer that moves: one that rests where the menu opens must not take the focus from the keyboard.
		item.onpointermove = ({ movementX, movementY }) => {
			if (movementX || movementY) item.focus({ preventScroll: true });
		};
		return item;
	});
	const menu = el('div', { role: 'menu', class: 'menu', 'aria-label': label }, ...items);

	/** @param {KeyboardEvent} event */
	menu.onkeydown = (event) => {
		// No key reaches the page behind the menu.
		event.stopPropagation();
		const { key } = event;
		const at = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
		const next = nextIndex(items, at, key);
		if (next >= 0) items[next].focus();
		else if (key === 'Escape' || key === 'Tab') close?.();
		else if (key === 'Enter' || key === ' ' || event.ctrlKey || event.metaKey) return;
		event.preventDefault();
	};
	const first = items.find((item) => item.ariaChecked === 'true') ?? items[0];
	const close = openPopup(button, menu, first, opener);
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
