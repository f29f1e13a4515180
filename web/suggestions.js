// @ts-check
// Owns the list of names that opens when the user writes an @: what it offers, its keys, and how screen readers learn of it.

import { $, el, face } from './dom.js';
import { byName } from './order.js';

/** The most names that are offered at a time. */
const MOST_NAMES = 8;
const LONGEST_NAME = 64;
/** An @ at the start of a word, and what follows it up to the caret. Names can contain spaces. */
const BEGUN = new RegExp(`(?:^|[\\s\\p{Ps}\\p{Pi}"'])@([^@\\n]{0,${LONGEST_NAME}})$`, 'u');

/**
 * @param {() => Iterable<string>} names Who can be mentioned; empty if nobody can.
 * @param {(name: string, from: number) => void} choose Takes a name in the place of the text from the @ to the caret.
 */
export function suggestions(names, choose) {
	const field = $('draft');
	const list = $('suggestions');
	/** @type {string[]} */
	let offered = [];
	let active = 0;
	/** The index of the @ that the list is open for. */
	let from = -1;
	/** The index of an @ that needs no list any more. */
	let done = -1;

	function close() {
		if (list.hidden) return;
		list.hidden = true;
		offered = [];
		field.role = field.ariaExpanded = field.ariaAutoComplete = null;
		for (const name of ['aria-controls', 'aria-activedescendant']) field.removeAttribute(name);
	}

	/** @param {string} begun */
	function matching(begun) {
		const wanted = begun.normalize('NFC').toLowerCase();
		const [first, later] = [/** @type {string[]} */ ([]), /** @type {string[]} */ ([])];
		for (const name of names()) {
			const low = name.toLowerCase();
			if (low.startsWith(wanted)) first.push(name);
			else if (low.includes(` ${wanted}`)) later.push(name);
		}
		return [...first.sort(byName), ...later.sort(byName)].slice(0, MOST_NAMES);
	}

	/** Opens the list, changes it or closes it, as the text before the caret wants it. */
	function update() {
		const { value, selectionStart, selectionEnd } = field;
		const begun = selectionStart === selectionEnd ? BEGUN.exec(value.slice(0, selectionStart)) : null;
		const at = begun ? selectionStart - begun[1].length - 1 : -1;
		if (at !== done) done = -1;
		if (!begun || at === done) return close();
		const was = offered.join();
		from = at;
		offered = matching(begun[1]);
		if (!offered.length) return close();
		if (offered.join() !== was) active = 0;
		draw();
	}

	function draw() {
		const options = offered.map((name, index) => {
			const option = el('li', { role: 'option', id: `suggestion-${index}` }, face(name), el('bdi', {}, name));
			option.ariaSelected = String(index === active);
			// The text field keeps the focus.
			option.onpointerdown = (event) => event.preventDefault();
			option.onclick = () => take(index);
			return option;
		});
		list.replaceChildren(...options);
		list.hidden = false;
		options[active].scrollIntoView({ block: 'nearest' });
		Object.assign(field, { role: 'combobox', ariaExpanded: 'true', ariaAutoComplete: 'list' });
		field.setAttribute('aria-controls', list.id);
		field.setAttribute('aria-activedescendant', options[active].id);
	}

	/** @param {number} index */
	function take(index) {
		const name = offered[index];
		done = from;
		close();
		choose(name, from);
	}

	field.onblur = close;
	field.onselect = field.onclick = update;
	// Keys that move the caret.
	field.onkeyup = ({ key }) => /^(Arrow|Home|End|Page)/.test(key) && list.hidden && update();

	return {
		update,
		close,
		/**
		 * Returns whether the key was for the list.
		 * @param {KeyboardEvent} event
		 */
		takes({ key, shiftKey, altKey, ctrlKey, metaKey, isComposing }) {
			if (list.hidden || isComposing || altKey || ctrlKey || metaKey || shiftKey) return false;
			if (key === 'ArrowDown' || key === 'ArrowUp') {
				active = (active + (key === 'ArrowDown' ? 1 : offered.length - 1)) % offered.length;
				draw();
			} else if (key === 'Enter' || key === 'Tab') take(active);
			else if (key === 'Escape') {
				done = from;
				close();
			} else return false;
			return true;
		},
	};
}
