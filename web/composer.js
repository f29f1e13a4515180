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
	/**
	 * The message that is being edited, and the draft that waits.
	 * @type {{ id: string, draft: string } | null}
	 */
	let editing = null;

	/** Goes back to the draft. */
	function endEditing() {
		if (!editing) return;
		const { draft } = editing;
		editing = null;
		$('editing').hidden = true;
		set(draft);
	}

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
		if (!conv || editing) return;
		conv.draft = field.value;
		session.changed();
		if (field.value) session.typing(conv);
	};
	$('cancel').onclick = () => {
		endEditing();
		field.focus();
	};
	field.onkeydown = (event) => {
		if (event.key === 'Escape' && editing && !event.isComposing) {
			event.preventDefault();
			return endEditing();
		}
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
		if (editing) {
			session.change(conv, 'Edit', { message_id: editing.id, content: text });
			return endEditing();
		}
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
			endEditing();
			conv = session.current;
			$('composer').hidden = !conv;
			if (!conv) return;
			field.disabled = conv.isReadOnly;
			const { readOnly, readOnlyIn, writeTo } = texts.composer;
			field.placeholder = conv.isReadOnly ? readOnly : writeTo(conv.title);
			field.ariaLabel = conv.isReadOnly ? readOnlyIn(conv.title) : field.placeholder;
			set(conv.draft);
		},
		/**
		 * Takes a stored message to edit it.
		 * @param {{ id: string, text: string }} item
		 */
		edit(item) {
			endEditing();
			const draft = field.value;
			editing = { id: item.id, draft };
			$('editing').hidden = false;
			field.value = item.text;
			size();
			field.focus();
		},
		/** @param {string} text Goes before the draft. */
		take(text) {
			set([text, field.value].filter(Boolean).join('\n'));
			field.focus();
		},
	};
}
