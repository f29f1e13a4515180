-- Reads what a room with rights is, and what a user is in it.
--
-- KEYS: meta (hash) of the room's log (see log.lua), its rights (hash, see rights.lua).
-- ARGV: the user.
-- Returns epoch, seq and message id of the newest entry that this knows of, then kind, topic, slow mode in ms, and the user as rights.lua
-- keeps it. Returns nothing if the room has no rights.

local top = redis.call('HMGET', KEYS[1], 'e', 's', 'i')
local found = redis.call('HMGET', KEYS[2], 'k', 't', 's', 'u' .. ARGV[1])
if not found[1] then return end
local seq = string.match(top[2] or '', '%d+') or '0'
return { top[1] or '0000000000000000', seq, top[3] or '', found[1], found[2] or '', found[3] or '0', found[4] or '- 0 0' }
