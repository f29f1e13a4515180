// @ts-check
// Owns which message has the tab stop, and the keys that go from one message to the next: with a stop at each message, the
// Tab key would take hundreds of presses through the list.

/** @import { Item } from './page.d.ts' */
/** @import { Line } from './timeline.js' */

/** @param {Line | null | undefined} line */
export const menuButton = (line) => /** @type {HTMLButtonElement | null} */ (line?.querySelector('.more') ?? null);

/** What takes the focus in a message, beside its links: Tab visits it only in the message that has the stop. */
const CONTROLS = '.more, .answered, .chosen';

/**
 * What takes the focus in a message that was built anew: what had it before, or else the button of its menu.
 * @param {Line} line
 * @param {Element} before
 */
export function sameControl(line, before) {
	const controls = /** @type {NodeListOf<HTMLElement>} */ (line.querySelectorAll(CONTROLS));
	/** @param {Element} node */
	const nameOf = (node) => node.className + node.firstChild?.textContent;
	return [...controls].find((node) => nameOf(node) === nameOf(before)) ?? menuButton(line);
}

/** @param {HTMLElement} list */
export function roving(list) {
	/**
	 * The message that had the focus last.
	 * @type {Item | null}
	 */
	let active = null;
	/** @type {HTMLElement[]} */
	let stops = [];

	/** @param {EventTarget | null} target */
	const lineOf = (target) => /** @type {Line | null} */ (/** @type {Element} */ (target).closest('#timeline > li'));

	list.addEventListener('focusin', ({ target }) => {
		active = lineOf(target)?.item ?? null;
		update();
	});

	/** @param {KeyboardEvent} event */
	list.onkeydown = (event) => {
		const { key, target } = event;
		const line = lineOf(target);
		if (
			!line ||
			!(/** @type {Element} */ (target).matches(CONTROLS)) ||
			event.altKey ||
			event.ctrlKey ||
			event.metaKey
		)
			return;
		const to = wanted(line, key);
		if (to === undefined) return;
		event.preventDefault();
		menuButton(to)?.focus();
	};

	/**
	 * The message that a key goes to; undefined if it is no such key.
	 * @param {Line} line
	 * @param {string} key
	 */
	function wanted(line, key) {
		const lines = /** @type {Line[]} */ ([...list.children]).filter(menuButton);
		const at = lines.indexOf(line);
		if (key === 'ArrowUp') return lines[Math.max(0, at - 1)];
		if (key === 'ArrowDown') return lines[Math.min(lines.length - 1, at + 1)];
		if (key === 'Home') return lines[0];
		if (key === 'End') return lines.at(-1);
		return undefined;
	}

	/** Moves the stop to the message that had the focus last, or to the newest one. */
	function update() {
		const lines = /** @type {Line[]} */ ([...list.children]);
		const line = (active && lines.find(({ item }) => item === active)) ?? lines.findLast(menuButton);
		/** @type {HTMLElement[]} */
		const next = line ? [...line.querySelectorAll(/** @type {'a'} */ (CONTROLS))] : [];
		if (next.length === stops.length && next.every((node, index) => node === stops[index])) return;
		for (const node of stops) node.tabIndex = -1;
		for (const node of next) node.tabIndex = 0;
		stops = next;
	}

	return {
		update,
		/** @param {Item} item */
		activate(item) {
			active = item;
			update();
		},
	};
}
