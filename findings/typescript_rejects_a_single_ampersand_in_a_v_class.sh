#!/usr/bin/env bash
# typescript 6.0.3.
#
# In a regular expression with the flag `v`, a single `&` inside a class is an ordinary character: only `&&` is reserved (ECMAScript,
# ClassSetReservedDoublePunctuator). The type checker reports it as an error (TS1508) unless it is the first character of the class,
# and names the character before it. Engines accept the expression, and `\&` satisfies both.
#
# Seen: "TS1508: Unexpected 'a'" for /[a&b]/v, no error for /[&ab]/v and /[a\&b]/v; all three match "&" in Node.js 20.
#
# Needs Node.js 20 or newer, and npm.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --no-audit --no-fund --silent typescript@6.0.3
check() {
  printf 'export const expression = %s;\n' "$1" >expression.ts
  node -e "process.exit($1.test('&') ? 0 : 1)"
  node_modules/.bin/tsc --noEmit --target es2024 expression.ts || true
}
between=$(check '/[a&b]/v')
first=$(check '/[&ab]/v')
escaped=$(check '/[a\&b]/v')
printf '/[a&b]/v: %s\n/[&ab]/v: %s\n/[a\\&b]/v: %s\n' "$between" "${first:-no error}" "${escaped:-no error}"
[[ $between == *"TS1508: Unexpected 'a'"* && -z $first && -z $escaped ]]
