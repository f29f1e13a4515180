// @ts-check
// Chooses what people read when a request fails.

import { errors, neverHere, otherError, reactionErrors, refusals } from './strings.js';

/**
 * @param {string | undefined} code
 * @param {string} [request] The type of the request that failed.
 */
export function wordsFor(code, request) {
	if (code === 'forbidden' && request === 'PrivateChat') return neverHere;
	if (request === 'React' && reactionErrors.has(code ?? '')) return reactionErrors.get(code ?? '') ?? '';
	return errors.get(code ?? '') ?? otherError;
}

/**
 * Why the server lets the page not in.
 * @param {string | null | undefined} refusal
 */
export const refusalFor = (refusal) => refusals.get(refusal ?? '') ?? '';
