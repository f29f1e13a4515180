// @ts-check
// Builds the small form that asks for one text at a button, and for one choice. Knows nothing of what is done with them.

import { el, tidy } from './dom.js';
import { openPopup } from './popup.js';
import { fixed } from './strings.js';

/**
 * @typedef {object} Question
 * @property {string} label Of the form.
 * @property {boolean} [titled] Whether the label is shown above the fields.
 * @property {string} field The label of the text field.
 * @property {string} send The text of the button.
 * @property {string} [needed] What the user reads if the text is empty. Without it, the text may be empty.
 * @property {string} [value] The text at first.
 * @property {{ label: string, options: Map<string, string> }} [choice] The options by their values.
 */

/**
 * Opens the form. It stays open while the server refuses, and says why.
 * @param {HTMLElement} button
 * @param {Question} question
 * @param {(text: string, chosen: string) => Promise<string>} run Returns what the user reads if that fails.
 * @param {() => HTMLElement | null} [opener]
 */
export function openPrompt(
	button,
	{ label, titled, field: of, send: done, needed, value, choice },
	run,
	opener = () => button,
) {
	const field = el('input', { autocomplete: 'off', autocapitalize: 'off', dir: 'auto', required: Boolean(needed) });
	field.value = value ?? '';
	const options = [...(choice?.options ?? [])].map(([value, text]) => el('option', { value }, text));
	const select = choice && el('select', {}, ...options);
	const problem = el('p', { class: 'problem', role: 'alert' });
	const send = el('button', { class: 'main' }, done);
	const cancel = el('button', { type: 'button', onclick: () => close?.() }, fixed.cancel);
	const form = el(
		'form',
		{ class: 'menu panel', role: 'dialog', 'aria-label': label },
		titled && el('b', { dir: 'auto' }, label),
		el('label', {}, of, field),
		select && el('label', {}, choice.label, select),
		problem,
		el('div', {}, send, cancel),
	);
	form.onsubmit = async (event) => {
		event.preventDefault();
		const text = tidy(field.value);
		send.disabled = true;
		problem.textContent = text || !needed ? await run(text, select?.value ?? '') : needed;
		send.disabled = false;
		if (!problem.textContent) close?.();
		else field.focus();
	};
	form.onkeydown = (event) => {
		event.stopPropagation();
		if (event.key === 'Escape' && !event.isComposing) close?.();
	};
	const close = openPopup(button, form, field, opener);
}
