// @ts-check
// The order of names in lists: that of the user's language, with numbers by their value. Keeps nothing.

const collator = new Intl.Collator([], { numeric: true });

/**
 * Names that the language takes for equal have an order too, or lists would change it from one drawing to the next.
 * @param {string} a
 * @param {string} b
 */
export const byName = (a, b) => collator.compare(a, b) || Number(a > b) - Number(a < b);
