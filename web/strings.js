// @ts-check
// Owns the texts that people read, except those about rights (strings-rights.js). To translate the page, translate both files:
// nothing else contains a text, except the reason in index.html for a browser that runs no script.

/** The language of the texts, and its direction: `ltr` or `rtl`. */
export const language = 'en';
export const direction = 'ltr';

const LONGEST_NAME = 64;

/** The texts of index.html, by the key in `data-text`, `data-title` or `data-label`. */
export const fixed = {
	automatic: 'As on this device',
	back: 'Back',
	badge: 'Number in the title',
	badgeConversations: 'Unread conversations',
	badgeMessages: 'Unread messages',
	badgeNone: 'None',
	cancel: 'Cancel',
	close: 'Close',
	colours: 'Colours',
	conversations: 'Conversations',
	copyRoom: 'Copy the link',
	dark: 'Dark',
	directMessages: 'Direct messages',
	done: 'Done',
	goTo: 'Go to',
	enterAgain: 'Enter again',
	haveToken: 'I have an access token',
	invitations: 'Invitations',
	joinOrWrite: 'Join or write (Ctrl+K)',
	joinOrWriteField: 'Join a room or write to someone',
	joinRoom: 'Join room',
	light: 'Light',
	listedRooms: 'Rooms on this server',
	makeAnnounce: 'New announcements',
	makePrivate: 'New private room',
	manageRoom: 'Manage this room',
	members: 'Members',
	notifications: 'Notifications',
	notifyMe: 'Notify me on this device',
	people: 'People to mention',
	retryNow: 'Retry now',
	rooms: 'Rooms',
	send: 'Send',
	settings: 'Settings',
	signOut: 'Sign out',
	switchKeys: 'Alt+↑ and Alt+↓ switch the conversation.',
	theirName: 'Name of the person',
	token: 'Access token',
	writePerson: 'Write to person',
	yourName: 'Your name',
};

export const header = {
	untitled: 'Chat',
	nothingOpen: 'Press + to join a room',
	online: 'Online',
	/** @param {number} count */
	membersOnline: (count) => `${count} online`,
	leaveRoom: 'Leave this room',
	closePeer: 'Close',
	/** @param {string} level */
	notifications: (level) => `Notifications: ${level}`,
	/** @param {string[]} names At least one. */
	typing: (names) => `${names.join(' and ')} ${names.length > 1 ? 'are' : 'is'} typing…`,
	/** @type {(title: string, unread: number) => string} */
	withUnread: (title, unread) => `${title}, ${unread} unread`,
};

export const clipboard = {
	roomCopied: 'Link copied. Anyone who opens it joins this room.',
	/** Above a text that the browser does not let the page copy. */
	byHand: 'Copy this text:',
};

/** By how loud a conversation is. */
export const levels = {
	all: 'Notify about every message',
	counted: 'Only count, and notify about mentions',
	muted: 'Mute',
	notifyIsOff: 'Notifications are off. You can switch them on in the settings.',
};

export const notifications = {
	/** @type {(from: string, room: string) => string} */
	inRoom: (from, room) => `${from} in ${room}`,
	/** @type {(from: string, room: string) => string} */
	mentioned: (from, room) => `${from} mentioned you in ${room}`,
	/** By the permission that the browser has given. */
	hints: {
		default: 'Your browser will ask you for permission.',
		granted: 'For private messages, for mentions of you, and for rooms where you choose it with the bell.',
		denied: 'Your browser blocks notifications of this page. Allow them in its settings for this site.',
		unsupported: 'This browser has no notifications here. They need a page over https.',
	},
};

/** What screen readers speak about new messages. */
export const spokenNews = {
	/** @type {(from: string, text: string) => string} */
	here: (from, text) => `${from}: ${text}`,
	/** @type {(from: string, room: string) => string} */
	inRoom: (from, room) => `${from} wrote in ${room}`,
	/** @param {string} from */
	toYou: (from) => `${from} wrote to you`,
	/** @type {(from: string, room: string) => string} */
	mentioned: (from, room) => `${from} mentioned you in ${room}`,
	/** @param {number} count */
	many: (count) => `${count} new messages`,
	/** @param {string[]} parts */
	joined: (parts) => parts.join('. '),
};

export const message = {
	you: 'You',
	/** For screen readers. */
	states: { waiting: 'Waiting', sending: 'Sending', failed: 'Failed', stored: 'Sent', read: 'Read' },
	maybeSent: 'This message may have been sent.',
	notSent: 'Not sent.',
	notConfirmed: 'The connection was lost before the server confirmed it.',
	retry: 'Retry',
	sendAgain: 'Send again',
	edit: 'Edit',
	delete: 'Delete',
	reply: 'Reply',
	/** For screen readers, before the beginning of the message that is answered. */
	answers: 'Answers ',
	toAnswered: 'Go to this message',
	/** In the place of its text. */
	notLoaded: 'A message that is not loaded yet',
	edited: 'edited',
	deleted: 'This message was deleted.',
	deletedByAdmin: 'An administrator deleted this message.',
	/** @param {string} name */
	deletedBy: (name) => `${name} deleted this message.`,
	/** For screen readers. */
	mentionsYou: ' mentions you: ',
	/** @type {(from: string, time: string) => string} */
	actions: (from, time) => `Actions: ${from}, ${time}`,
	copyText: 'Copy text',
	textCopied: 'Text copied.',
	copyLink: 'Copy link to message',
	linkCopied: 'Link copied. Anyone who opens it joins this room, and sees this message.',
	privateLinkCopied: 'Link copied. It works only for you.',
	linkedIsGone: 'The message is not here any more.',
};

export const reactions = {
	/** @param {string} reaction */
	react: (reaction) => `React with ${reaction}`,
	/** @param {string} reaction */
	takeBack: (reaction) => `Take back ${reaction}`,
	other: 'Another reaction…',
	field: 'An emoji or a short text',
	add: 'React',
	needed: 'Enter a reaction.',
	who: 'Who reacted',
	you: 'You',
	/** For screen readers. @type {(reaction: string, count: number, names: string) => string} */
	label: (reaction, count, names) => `${reaction}: ${count}. ${names}`,
	/**
	 * Who chose a reaction: known names, and the number of others. Not both are empty.
	 * @type {(names: string[], others: number) => string}
	 */
	names: (names, others) => {
		const rest = others && (names.length ? `${others} more` : `${others} ${others > 1 ? 'people' : 'person'}`);
		return (rest ? [...names, rest] : names).join(', ');
	},
};

export const timeline = {
	/** @param {string} title */
	region: (title) => `Messages, ${title}`,
	newest: '↓ Latest',
	/** @param {number} count */
	newer: (count) => `↓ ${count} new`,
	divider: 'New',
	/** By the number of days ago. */
	days: ['Today', 'Yesterday'],
	/** @param {string} why */
	refused: (why) => `You can’t join this room: ${why}`,
	loading: 'Loading earlier messages…',
	noEarlier: 'The server has no earlier messages.',
	empty: 'No messages yet.',
	lostByServer: 'Messages may be missing here. The server lost some, or all, of its stored messages.',
	tooMany: 'Messages are missing here. There were too many to load.',
	gone: 'Messages are missing here. The server no longer has them.',
};

export const composer = {
	editing: 'You edit a message.',
	/** @type {(from: string, text: string) => string} */
	answering: (from, text) => (from ? `You answer ${from}: ${text}` : `You answer: ${text}`),
	/** @param {string} title */
	writeTo: (title) => `Message ${title}`,
	readOnly: 'Only administrators write here',
	/** @type {(why: string, title: string) => string} */
	readOnlyIn: (why, title) => `${why}: ${title}`,
	/** @param {number} seconds */
	slow: (seconds) => `Slow mode: you can write again in ${seconds} s.`,
};

export const sidebar = {
	unread: ' unread',
	mentioned: ' mentions you',
	failed: ' failed',
	muted: ' muted',
	online: ' online ',
	manyUnread: '99+',
	you: 'you',
	invitedBy: (/** @type {string} */ by) => (by ? `from ${by}` : 'from an administrator'),
	accept: 'Accept',
	/** @param {string} room */
	acceptIn: (room) => `Accept the invitation to ${room}`,
	/** @param {string} room */
	dismissIn: (room) => `Dismiss the invitation to ${room}`,
	/** @param {string} name */
	writeTo: (name) => `Write to ${name}`,
	/** @param {number} count */
	andMore: (count) => `and ${count} more`,
};

export const connection = {
	none: 'No connection to the server.',
	offline: 'You are offline.',
	connecting: 'Connecting…',
	waiting: 'Waiting for the server…',
	online: 'Online',
	/** @type {(why: string, seconds: number) => string} */
	tryingAgain: (why, seconds) => `${why} Trying again in ${seconds} s.`,
	/** @param {string} why */
	tryingNow: (why) => `${why} Connecting…`,
	/** @type {(room: string, why: string) => string} */
	cannotJoin: (room, why) => `Can’t join ${room} yet: ${why}`,
	backWithGaps: 'Reconnected. Some messages are missing.',
	/** @param {number} count */
	backWithMissed: (count) => `Reconnected. Loaded missed messages: ${count}.`,
	back: 'Reconnected. No messages missed.',
	privateGap: 'Private messages may be missing.',
	tooFast: 'You are sending too fast. The server delays your messages.',
};

export const signIn = {
	welcome: 'Welcome',
	again: 'Sign in again',
	/** @param {string} room */
	join: (room) => `Join #${room}`,
	continue: 'Continue',
	chooseName: 'Choose a name to start chatting.',
	tokenNames: 'Your token determines your name.',
	allKept: 'Your rooms and messages are kept.',
	nameOrToken: 'Enter a name or an access token.',
	connecting: 'Connecting…',
	expired: 'Your access token has expired or was revoked.',
	disconnected: 'An administrator disconnected you.',
	badToken: 'The server does not accept this token.',
	needsToken: 'This server requires an access token.',
	/** @type {(unsent: number, action: string) => string} */
	losesUnsent: (unsent, action) => `Unsent messages will be lost: ${unsent}. ${action}?`,
};

/** By the error code of the server, whose own texts are for programmers. */
export const errors = new Map([
	['conflict', 'The message was changed on another device.'],
	['forbidden', 'You may not write in this room.'],
	['gone', 'The message was deleted.'],
	['identity_mismatch', 'This access token belongs to another user.'],
	['internal', 'Something is wrong on the server. An administrator has to look at it.'],
	['invalid_message', `A name can have up to ${LONGEST_NAME} characters, and all of them must be visible.`],
	['message_too_large', 'The message is too long.'],
	['not_found', 'The message is too old to be changed.'],
	['not_in_room', 'You are no longer in this room.'],
	['rate_limited', 'You have sent too much in a short time.'],
	['too_late', 'The message is too old to be edited.'],
	['too_many_changes', 'The message can’t be changed any more.'],
	['too_many_rooms', 'You are in too many rooms. Leave another room first.'],
	['unauthorized', 'The server does not accept this access token.'],
	['unavailable', 'The server can’t read or store messages right now.'],
]);
/** The same, where the request matters: by its type and the error code. */
export const requestErrors = new Map([
	['Enter forbidden', 'It is private, or you are banned from it.'],
	['Moderate forbidden', 'Your role in this room does not allow that, or the person is banned from it.'],
	['PrivateChat forbidden', 'This person was never here and has many messages waiting. Write again later.'],
	['React forbidden', 'You may not react in this room.'],
	['React invalid_message', 'A reaction is one emoji or a short text.'],
	['React too_many_changes', 'This message has too many reactions.'],
	['Retract forbidden', 'You may not delete this message.'],
	['Room forbidden', 'This room exists already, or you may not make or change it.'],
	['Room invalid_message', 'The name or the topic is too long, or has characters that are not visible.'],
]);
export const otherError = 'The server does not understand this page. Reload the page.';

/** By what the server says to a page that wants to connect. */
export const refusals = new Map([
	['full', 'The server is full.'],
	['too_many', 'Too many connections from your network.'],
]);
