// @ts-check
// Copies texts for the user. Keeps nothing.

import { el } from './dom.js';
import { clipboard as texts } from './strings.js';

/**
 * Copies a text, or shows it where the browser does not let the page copy it. Returns whether it was copied.
 * @param {string} text
 */
export async function copy(text) {
	try {
		await navigator.clipboard.writeText(text);
	} catch {
		// The clipboard works only with https or on localhost.
		if (!copyOld(text)) return (prompt(texts.byHand, text), false);
	}
	return true;
}

/**
 * The old way works everywhere, but needs a field with the focus.
 * @param {string} text
 */
function copyOld(text) {
	const focused = /** @type {HTMLElement | null} */ (document.activeElement);
	const field = el('textarea', { class: 'sr' });
	field.value = text;
	document.body.append(field);
	field.select();
	const isCopied = document.execCommand('copy');
	field.remove();
	focused?.focus({ preventScroll: true });
	return isCopied;
}
