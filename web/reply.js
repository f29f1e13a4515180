// @ts-check
// What is shown of a message that another one answers. Keeps nothing.

import { plain } from './format.js';
import { whyGone } from './message.js';
import { message as texts } from './strings.js';

/** @import { Conversation } from './conversation.js' */

const LONGEST = 120;

/**
 * @param {Conversation} conv
 * @param {string} id The message that is answered.
 */
export function quoteOf(conv, id) {
	const item = conv.byId.get(id);
	if (!item) return { from: '', text: texts.notLoaded };
	const from = item.from === conv.me ? texts.you : item.from;
	if (item.retracted) return { from, text: whyGone(item) };
	// Marks that are cut in two stay as they are.
	const text = plain(item.text.slice(0, 4 * LONGEST)).replace(/\s+/g, ' ');
	return { from, text: [...text].slice(0, LONGEST).join('') };
}
