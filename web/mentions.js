// @ts-check
// Finds the names of mentioned users in texts, and marks them. The server never looks for names: which ones a message mentions
// is a field of its own. Keeps nothing.

import { el } from './dom.js';

/** The most names that a message can mention. */
export const MOST_MENTIONS = 20;
/** The most places that are marked in one message. */
const MOST_PLACES = 200;

/**
 * A name after an at sign, where neither is a part of a longer word. Of two names, the longer one counts.
 * @param {string[]} names
 */
function patternOf(names) {
	const longestFirst = [...names].sort((a, b) => b.length - a.length);
	const any = longestFirst.map((name) => name.replace(/[\^$\\.*+?()[\]{}|\/]/g, '\\$&')).join('|');
	return new RegExp(`(?<![\\p{L}\\p{N}])@(${any})(?![\\p{L}\\p{N}])`, 'gu');
}

/**
 * Those of the names that a text contains.
 * @param {string} text
 * @param {string[]} names
 */
export function mentionedIn(text, names) {
	if (!names.length) return [];
	const found = new Set([...text.matchAll(patternOf(names))].map(([, name]) => name));
	return [...found].slice(0, MOST_MENTIONS);
}

/**
 * Marks the mentioned names in an element, except in code and in links.
 * @param {HTMLElement} node
 * @param {string[]} names
 * @param {string} me
 */
export function markMentions(node, names, me) {
	if (!names.length) return;
	const pattern = patternOf(names);
	const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
	/** @type {Text[]} */
	const texts = [];
	while (walker.nextNode()) texts.push(/** @type {Text} */ (walker.currentNode));
	let left = MOST_PLACES;
	for (const text of texts) {
		if (text.parentElement?.closest('code, a')) continue;
		const { data } = text;
		/** @type {(Node | string)[]} */
		const parts = [];
		let last = 0;
		for (const { 0: found, 1: name, index } of data.matchAll(pattern)) {
			if (left-- <= 0) break;
			parts.push(data.slice(last, index), el('span', { class: name === me ? 'mention own' : 'mention' }, found));
			last = index + found.length;
		}
		if (last) text.replaceWith(...parts, data.slice(last));
	}
}
