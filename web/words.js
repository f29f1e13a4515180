// @ts-check
// Chooses what people read when a request fails.

import { errors, otherError, refusals, requestErrors } from './strings.js';

/**
 * @param {string | undefined} code
 * @param {string} [request] The type of the request that failed.
 */
export function wordsFor(code, request) {
	return requestErrors.get(`${request} ${code}`) ?? errors.get(code ?? '') ?? otherError;
}

/**
 * Why the server lets the page not in.
 * @param {string | null | undefined} refusal
 */
export const refusalFor = (refusal) => refusals.get(refusal ?? '') ?? '';
