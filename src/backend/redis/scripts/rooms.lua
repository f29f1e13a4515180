-- Reads the next rooms in which an incarnation holds members, in the order of their names. A room costs one step, however many
-- members it has.
--
-- KEYS: held (zset of the incarnation).
-- ARGV: the room after which to start (empty: the first room), the number of rooms.
-- Returns the rooms.

local held, after, limit = KEYS[1], ARGV[1], tonumber(ARGV[2])
local rooms = {}
while #rooms < limit do
  -- No UTF-8 has the byte 255, so this is behind every member of the room.
  local bound = after == '' and '-' or '(' .. after .. '\n\255'
  local entry = redis.call('ZRANGEBYLEX', held, bound, '+', 'LIMIT', 0, 1)[1]
  if not entry then break end
  after = string.match(entry, '^[^\n]*')
  rooms[#rooms + 1] = after
end
return rooms
