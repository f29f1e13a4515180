// @ts-check
// Builds what concerns the reactions to a message: those below it, who chose them, and the field for a free one.

import { el } from './dom.js';
import { openPopup } from './popup.js';
import { openPrompt } from './prompt.js';
import { reactions as texts } from './strings.js';

/** @import { Message, Reactions } from './page.d.ts' */

/** The most names that are told. */
const MOST_NAMES = 20;

/**
 * The reactions, most frequent first; equal ones in a fixed order.
 * @param {Message} item
 */
function sorted(item) {
	const all = Object.entries(item.reactions);
	return all.sort(([name, one], [other, { count }]) => count - one.count || (name < other ? -1 : 1));
}

/**
 * Who chose it, as far as the page knows.
 * @param {Reactions} reaction
 * @param {string} me
 */
function who({ count, mine, names = [] }, me) {
	const others = names.filter((name) => name !== me).slice(0, MOST_NAMES);
	const known = mine ? [texts.you, ...others] : others;
	return texts.names(known, Math.max(0, count - known.length));
}

/**
 * @param {Message} item
 * @param {string} me
 * @param {(reaction: string) => void} toggle Adds the user's own reaction, or takes it back.
 */
export function reactionsOf(item, me, toggle) {
	const all = sorted(item);
	if (!all.length) return null;
	const shown = all.map(([reaction, chosen]) => {
		const names = who(chosen, me);
		const button = el(
			'button',
			{ class: 'chosen', type: 'button', tabindex: '-1', title: names, onclick: () => toggle(reaction) },
			el('bdi', {}, reaction),
			` ${chosen.count}`,
		);
		button.ariaPressed = String(Boolean(chosen.mine));
		button.ariaLabel = texts.label(reaction, chosen.count, names);
		return button;
	});
	return el('div', { class: 'reactions' }, ...shown);
}

/**
 * Shows who chose which reaction.
 * @param {HTMLElement} button
 * @param {Message} item
 * @param {string} me
 * @param {() => HTMLElement | null} opener
 */
export function openReactions(button, item, me, opener) {
	const rows = sorted(item).map(([reaction, chosen]) =>
		el('li', {}, el('bdi', {}, reaction), ` ${chosen.count}: `, el('bdi', {}, who(chosen, me))),
	);
	const list = el('ul', { class: 'menu panel', role: 'dialog', tabindex: '-1', 'aria-label': texts.who }, ...rows);
	const close = openPopup(button, list, list, opener);
	list.onkeydown = (event) => {
		event.stopPropagation();
		if (event.key === 'Escape' || event.key === 'Tab') close?.();
	};
}

/**
 * Opens the field for a free reaction.
 * @param {HTMLElement} button
 * @param {(reaction: string) => Promise<string>} add Returns what the user reads if that fails.
 * @param {() => HTMLElement | null} opener
 */
export function openField(button, add, opener) {
	const { other: label, field, add: send, needed } = texts;
	openPrompt(button, { label, field, send, needed }, add, opener);
}
