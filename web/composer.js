// @ts-check
// Owns the text field: draft, size, keys, and what the text is for: an edit, or an answer.

import { $, say } from './dom.js';
import { mentionedIn } from './mentions.js';
import { quoteOf } from './reply.js';
import { isSlow, mayReturn, whyReadOnly } from './rights.js';
import * as texts from './strings.js';
import { suggestions } from './suggestions.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Unsent } from './page.d.ts' */
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

	// An edit can't change whom a message mentions.
	const offers = () => (conv && !editing && session.features.has('mentions') ? conv.mentionable : []);
	const people = suggestions(offers, (name, from) => {
		if (!conv) return;
		conv.chosen = [...new Set([...conv.chosen, name])];
		field.setRangeText(`@${name} `, from, field.selectionStart, 'end');
		written();
	});

	/** Goes back to the draft. */
	function endEditing() {
		if (!editing) return;
		const { draft } = editing;
		editing = null;
		set(draft);
	}

	/** Edits nothing more, or else answers nothing more. Returns whether there was something to end. */
	function cancel() {
		if (!editing && !conv?.answering) return false;
		if (editing) endEditing();
		else answers('');
		drawContext();
		return true;
	}

	/** @param {string} id The message that the draft answers; empty for none. */
	function answers(id) {
		if (!conv) return;
		conv.answering = id;
		drawContext();
		session.changed();
	}

	/** Says what the text is for. The text field is described by it. */
	function drawContext() {
		const { editing: edits, answering, slow } = texts.composer;
		let text = editing ? edits : '';
		if (!editing && conv?.answering) {
			const quote = quoteOf(conv, conv.answering);
			text = answering(quote.from, quote.text);
		}
		$('cancel').hidden = !text;
		if (conv && !editing && isSlow(conv)) text = `${slow(Math.ceil((conv.slowUntil - Date.now()) / 1000))} ${text}`;
		$('context').hidden = !text;
		say($('context-text'), text);
	}

	/** Shows whether the user may write, and why the user is not in the room. */
	function drawRights() {
		if (!conv) return;
		const why = whyReadOnly(conv);
		const { readOnlyIn, writeTo } = texts.composer;
		const hint = why || writeTo(conv.title);
		if (field.placeholder !== hint) {
			field.placeholder = hint;
			field.ariaLabel = why ? readOnlyIn(why, conv.title) : hint;
			field.disabled = Boolean(why);
			size();
		}
		const { out, refused, items, title } = conv;
		// Without messages, the timeline says it.
		$('refusal').hidden = !refused || !(out || items.length);
		say($('refusal-text'), out ? refused : texts.timeline.refused(refused));
		$('reenter').hidden = !mayReturn(conv);
		$('reenter').title = title;
	}

	/** @param {string} text */
	function set(text) {
		people.close();
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

	/** @param {Conversation} to */
	async function sendEdit(to, /** @type {string} */ message_id, /** @type {string} */ content) {
		const problem = await session.change(to, 'Edit', { message_id, content });
		if (problem) session.on.notice(problem);
	}

	// Its size changes with the window, and with the font: a zoom of the text only sends no event.
	new ResizeObserver(size).observe($('typing'));
	function written() {
		typedAt = Date.now();
		size();
		people.update();
		if (!conv || editing) return;
		conv.draft = field.value;
		session.changed();
		if (field.value) session.typing(conv);
	}
	field.oninput = written;
	$('cancel').onclick = () => {
		cancel();
		field.focus();
	};
	field.onkeydown = (event) => {
		if (people.takes(event) || (event.key === 'Escape' && !event.isComposing && cancel())) {
			event.preventDefault();
			event.stopPropagation();
			return;
		}
		// While an input method composes a character, Enter belongs to it.
		if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
		event.preventDefault();
		$('composer').requestSubmit();
	};
	$('reenter').onclick = () => {
		if (conv) session.enter(conv);
		field.focus();
	};
	$('composer').onsubmit = (event) => {
		event.preventDefault();
		const text = field.value.trim();
		field.focus();
		if (!text || !conv || (isSlow(conv) && !editing)) return;
		if (editing) {
			sendEdit(conv, editing.id, text);
			endEditing();
			return drawContext();
		}
		const replyTo = conv.answering || undefined;
		const mentions = mentionedIn(text, conv.chosen);
		session.say(conv, text, { replyTo, thread: conv.byId.get(replyTo ?? '')?.thread, mentions });
		conv.chosen = [];
		answers('');
		set('');
		sent();
	};

	return {
		/** How long ago the user wrote something, in ms. */
		idle: () => Date.now() - typedAt,
		focus: () => field.focus(),
		render() {
			if (session.current === conv) {
				drawRights();
				return drawContext();
			}
			endEditing();
			conv = session.current;
			$('composer').hidden = !conv;
			drawContext();
			if (!conv) return;
			drawRights();
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
			drawContext();
			field.value = item.text;
			size();
			field.focus();
		},
		/** @param {{ id: string }} item The message that the draft answers from now on. */
		answer({ id }) {
			endEditing();
			answers(id);
			field.focus();
		},
		/** @param {Unsent} item Its text goes before the draft. */
		take({ text, replyTo, mentions = [] }) {
			endEditing();
			conv?.chosen.push(...mentions);
			set([text, field.value].filter(Boolean).join('\n'));
			if (replyTo) answers(replyTo);
			field.focus();
		},
	};
}
