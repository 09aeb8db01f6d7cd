// What the scripts of the live page share.

export const $ = (id) => document.getElementById(id);
export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

export function make(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

export function marked(tag, verdict) {
  const element = document.createElement(tag);
  element.dataset.verdict = verdict;
  return element;
}
