#!lua flags=allow-oom
-- Stores a revocation of signed tokens: of one token, or of all of a user that were issued before a time.
--
-- KEYS: revocation (string).
-- ARGV: value (a number: the time, or 1), time in Unix ms from which on nothing needs it (empty: never).

-- As in token.lua: nodes judge by their own clocks.
local KEPT = 4 * 3600000
local value, needed = ARGV[1], ARGV[2]
-- The clock of another node may have been ahead: what was revoked stays revoked.
local held = tonumber(redis.call('GET', KEYS[1]))
if held and held > tonumber(value) then
  value = string.format('%.0f', held)
end
if needed == '' then
  redis.call('SET', KEYS[1], value)
else
  redis.call('SET', KEYS[1], value, 'PXAT', string.format('%.0f', tonumber(needed) + KEPT))
end
return 1
