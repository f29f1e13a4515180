// @ts-check
// Applies edits, retractions and reactions to the messages of a conversation. Keeps nothing.

/** @import { Conversation } from './conversation.js' */
/** @import { EventBody, Message, Position } from './page.d.ts' */

/** Whether an entry of the log is a change of a message, or what is left of an erased one. */
const KINDS = ['Edit', 'Retract', 'React', 'Tombstone'];

/** @param {string} type */
export const isChange = (type) => KINDS.includes(type);

/**
 * @param {Conversation} conv
 * @param {string} type
 * @param {EventBody} body
 * @param {boolean} mine
 */
export function apply(conv, type, body, mine) {
	const item = conv.items.findLast((item) => item.from !== undefined && item.id === body.target?.message_id);
	if (item?.from === undefined || item.retracted) return;
	if (type === 'Edit' && (body.message_id ?? '') > (item.version ?? ''))
		Object.assign(item, { text: body.content, version: body.message_id });
	else if (type === 'Retract') Object.assign(item, { text: '', retracted: true, reactions: {} });
	else if (type === 'React' && body.reaction !== undefined) react(item, body.reaction, body.on === true, mine);
}

/**
 * @param {Message} item
 * @param {string} reaction
 * @param {boolean} on
 * @param {boolean} mine
 */
function react(item, reaction, on, mine) {
	// A reaction can have the name of a property that every object has.
	const all = new Map(Object.entries(item.reactions));
	const known = all.get(reaction) ?? { count: 0 };
	const count = known.count + (on ? 1 : -1);
	if (count > 0) all.set(reaction, { count, mine: mine ? on : known.mine });
	else all.delete(reaction);
	item.reactions = Object.fromEntries(all);
}
