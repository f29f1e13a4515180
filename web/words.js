// @ts-check
// Owns what people read when a request fails. The server's own words are for programmers.

const LONGEST_NAME = 64;
const WORDS = new Map([
	['forbidden', 'Only administrators can write in this room.'],
	['identity_mismatch', 'This access token belongs to another user.'],
	['internal', 'Something is wrong on the server. An administrator has to look at it.'],
	['invalid_message', `A name can have up to ${LONGEST_NAME} characters, and all of them must be visible.`],
	['message_too_large', 'The message is too long.'],
	['not_in_room', 'You are no longer in this room.'],
	['rate_limited', 'You have sent too much in a short time.'],
	['too_many_rooms', 'You are in too many rooms. Leave another room first.'],
	['unauthorized', 'The server does not accept this access token.'],
	['unavailable', 'The server can’t read or store messages right now.'],
]);
/** By what the server says to a page that wants to connect. */
const REFUSALS = new Map([
	['full', 'The server is full.'],
	['too_many', 'Too many connections from your network.'],
]);
export const NO_CONNECTION = 'No connection to the server.';
const NEVER_HERE = 'This person was never here and has many messages waiting. Write again later.';
const OTHER = 'The server does not understand this page. Reload the page.';

/**
 * @param {string | undefined} code
 * @param {string} [request] The type of the request that failed.
 */
export function wordsFor(code, request) {
	if (code === 'forbidden' && request === 'PrivateChat') return NEVER_HERE;
	return WORDS.get(code ?? '') ?? OTHER;
}

/**
 * Why the server lets the page not in.
 * @param {string | null | undefined} refusal
 */
export const refusalFor = (refusal) => REFUSALS.get(refusal ?? '') ?? '';
