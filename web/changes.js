// @ts-check
// Applies edits, retractions and reactions to the messages of a conversation. Keeps nothing.

/** @import { Conversation } from './conversation.js' */
/** @import { EventBody, Message, Position } from './page.d.ts' */

/** Whether an entry of the log is a change of a message, or what is left of an erased one. */
const KINDS = ['Edit', 'Retract', 'React', 'Tombstone'];

/** What a message that was taken back still says beside its text. */
const NOTHING = { reactions: {}, mentions: [], attachments: [], replyTo: undefined };

/** @param {string} type */
export const isChange = (type) => KINDS.includes(type);

/**
 * @param {Conversation} conv
 * @param {string} type
 * @param {EventBody} body
 * @param {boolean} mine
 */
export function apply(conv, type, body, mine) {
	const item = conv.byId.get(body.target?.message_id ?? '');
	if (!item || item.retracted) return;
	if (type === 'Edit' && (body.message_id ?? '') > (item.version ?? ''))
		Object.assign(item, { text: body.content, version: body.message_id });
	else if (type === 'Retract')
		Object.assign(item, {
			text: '',
			retracted: true,
			moderated: body.moderated,
			moderator: body.moderator,
			...NOTHING,
		});
	else if (type === 'React' && body.reaction !== undefined) react(item, body, mine);
}

/**
 * @param {Message} item
 * @param {EventBody} body
 * @param {boolean} mine
 */
function react(item, { reaction = '', on, sender_username: user = '', epoch, seq }, mine) {
	// The message came with it.
	if (epoch === item.epoch && (seq ?? 0) <= item.counted) return;
	// A reaction can have the name of a property that every object has.
	const all = new Map(Object.entries(item.reactions));
	const known = all.get(reaction) ?? { count: 0 };
	const count = known.count + (on ? 1 : -1);
	const others = (known.names ?? []).filter((name) => name !== user);
	const names = on ? [...others, user] : others;
	if (count > 0) all.set(reaction, { count, mine: mine ? on : known.mine, names });
	else all.delete(reaction);
	item.reactions = Object.fromEntries(all);
}
