// @ts-check
// Owns the text field: draft, size, keys.

import { $ } from './dom.js';
import * as texts from './strings.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Session } from './session.js' */

/**
 * @param {Session} session
 * @param {() => void} sent
 */
export function composer(session, sent) {
	const field = $('draft');
	/** @type {Conversation | null} */
	let conv = null;
	let typedAt = 0;

	/** @param {string} text */
	function set(text) {
		field.value = text;
		if (conv) conv.draft = text;
		size();
	}

	/** While the field is measured, the composer keeps its height: with another one, the timeline would move. */
	function size() {
		const { style } = $('composer');
		style.minHeight = `${$('composer').offsetHeight}px`;
		field.style.height = 'auto';
		field.style.height = `${field.scrollHeight}px`;
		style.minHeight = '';
		$('send').disabled = field.disabled || !field.value.trim();
	}

	// Its size changes with the window, and with the font: a zoom of the text only sends no event.
	new ResizeObserver(size).observe($('typing'));
	field.oninput = () => {
		typedAt = Date.now();
		size();
		if (!conv) return;
		conv.draft = field.value;
		session.changed();
		if (field.value) session.typing(conv);
	};
	field.onkeydown = (event) => {
		// While an input method composes a character, Enter belongs to it.
		if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
		event.preventDefault();
		$('composer').requestSubmit();
	};
	$('composer').onsubmit = (event) => {
		event.preventDefault();
		const text = field.value.trim();
		field.focus();
		if (!text || !conv) return;
		session.say(conv, text);
		set('');
		sent();
	};

	return {
		/** How long ago the user wrote something, in ms. */
		idle: () => Date.now() - typedAt,
		focus: () => field.focus(),
		render() {
			if (session.current === conv) return;
			conv = session.current;
			$('composer').hidden = !conv;
			if (!conv) return;
			field.disabled = conv.isReadOnly;
			const { readOnly, readOnlyIn, writeTo } = texts.composer;
			field.placeholder = conv.isReadOnly ? readOnly : writeTo(conv.title);
			field.ariaLabel = conv.isReadOnly ? readOnlyIn(conv.title) : field.placeholder;
			set(conv.draft);
		},
		/** @param {string} text Goes before the draft. */
		take(text) {
			set([text, field.value].filter(Boolean).join('\n'));
			field.focus();
		},
	};
}
