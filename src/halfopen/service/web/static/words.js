// The words of the page in the language that is chosen, and what is made of them.

/** The words, by their names; another object when the language changes. */
export let W = {};
/** The code of the language. */
export let language = "en";

export function speak(code, words) {
  language = code;
  W = words;
}

/** A text with values in place of their names in braces. */
export const put = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** A text as a sentence begins; the name of a setting begins as it is written. */
export const sentence = (text) => (/^\w*_/.test(text) ? text : text.slice(0, 1).toUpperCase() + text.slice(1));

