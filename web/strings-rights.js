// @ts-check
// Owns the texts that people read about rooms with rights, their moderators and blocked users.

/** Of rooms with rights. */
export const rights = {
	kinds: { open: '', private: 'Private room', announce: 'Announcements' },
	roles: { owner: 'owner', moderator: 'moderator', member: 'member', invited: 'invited' },
	/** Of a user in the list of members. */
	isMuted: 'muted',
	announce: 'Only moderators write here',
	/** @param {string} until Empty: without an end. */
	muted: (until) => (until ? `You are muted until ${until}` : 'A moderator has muted you'),
	outside: 'You are not in this room',
	removed: {
		kick: 'You were sent out of this room.',
		/** @param {string} until Empty: without an end. */
		ban: (until) => (until ? `You are banned from this room until ${until}.` : 'You are banned from this room.'),
		remove: 'You were removed from this room.',
		closed: 'This room is private now, and you are no member of it.',
	},
	/** @type {(text: string, reason: string) => string} */
	because: (text, reason) => `${text.replace(/\.$/, '')}: ${reason}`,
	/** @type {(title: string, text: string) => string} */
	inRoom: (title, text) => `${title}: ${text}`,
	/** @type {(by: string, room: string) => string} */
	invited: (by, room) => `${by || 'An administrator'} invites you to #${room}.`,
};

/** @type {Record<'block' | 'unblock' | 'blocked' | 'unblocked', (name: string) => string>} */
export const blocks = {
	block: (name) => `Block ${name}`,
	unblock: (name) => `End the block of ${name}`,
	blocked: (name) => `${name} can no longer write to you.`,
	unblocked: (name) => `${name} can write to you again.`,
};

/** @type {(text: string, until: string) => string} */
const withEnd = (text, until) => (until ? `${text} until ${until}` : text);

/** Lines in the timeline about a room with rights. `by` and `who` are names or the words for the user. */
export const notes = {
	admin: 'An administrator',
	you: 'You',
	whoYou: 'you',
	made: {
		open: (/** @type {string} */ by) => `${by} made this room`,
		private: (/** @type {string} */ by) => `${by} made this private room`,
		announce: (/** @type {string} */ by) => `${by} made this room for announcements`,
	},
	kinds: {
		open: (/** @type {string} */ by) => `${by} opened this room for everyone`,
		private: (/** @type {string} */ by) => `${by} made this room private`,
		announce: (/** @type {string} */ by) => `${by} made this a room for announcements`,
	},
	/** @type {(by: string, topic: string) => string} */
	topic: (by, topic) => `${by} changed the topic: ${topic}`,
	/** @param {string} by */
	noTopic: (by) => `${by} removed the topic`,
	/** @type {(by: string, seconds: number) => string} */
	slow: (by, seconds) => `${by} turned slow mode on: one message in ${seconds} s`,
	/** @param {string} by */
	noSlow: (by) => `${by} turned slow mode off`,
	/** @param {string} who */
	accepted: (who) => `${who} accepted the invitation`,
	/** @param {string} who */
	gaveUp: (who) => `${who} gave up the role here`,
	/** @type {(by: string, who: string, role: string) => string} */
	role: (by, who, role) => `${by} made ${who} ${role}`,
	/** @type {Record<string, (by: string, who: string, until: string) => string>} */
	actions: {
		invite: (by, who) => `${by} invited ${who}`,
		remove: (by, who) => `${by} removed ${who}`,
		kick: (by, who) => `${by} sent ${who} out`,
		ban: (by, who, until) => withEnd(`${by} banned ${who}`, until),
		unban: (by, who) => `${by} ended the ban of ${who}`,
		mute: (by, who, until) => withEnd(`${by} muted ${who}`, until),
		unmute: (by, who) => `${by} ended the mute of ${who}`,
	},
	/** @type {(by: string, who: string) => string} */
	other: (by, who) => `${by} changed what ${who} may do`,
};

/** What owners and moderators do. */
export const moderation = {
	/** @param {string} name */
	actions: (name) => `Actions: ${name}`,
	give: { owner: 'Make owner', moderator: 'Make moderator', member: 'Make member' },
	acts: { kick: 'Send out', mute: 'Mute', ban: 'Ban', remove: 'Remove' },
	unmute: 'End the mute',
	unban: 'End a ban',
	invite: 'Invite',
	kind: 'Who enters and writes',
	kinds: { open: 'Everyone', private: 'Only members', announce: 'Everyone enters, moderators write' },
	changeTopic: 'Change the topic',
	topic: 'Topic',
	save: 'Save',
	slow: 'Slow mode',
	/** @param {number} seconds */
	slowFor: (seconds) => (seconds ? `One message in ${seconds} s` : 'Off'),
	/** An entry that asks for more. @param {string} act */
	more: (act) => `${act}…`,
	/** @type {(act: string, name: string) => string} */
	title: (act, name) => `${act}: ${name}`,
	reason: 'Reason (may be empty)',
	howLong: 'How long',
	/** @param {number} minutes */
	duration: (minutes) =>
		minutes < 1440 ? (minutes ? `${minutes / 60} h` : 'Without an end') : `${minutes / 1440} d`,
	nameNeeded: 'Enter a name.',
};
