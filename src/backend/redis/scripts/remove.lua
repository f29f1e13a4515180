-- An incarnation no longer holds a user in a room. Idempotent.
--
-- KEYS: members (zset), holders (hash), held (zset of the incarnation).
-- ARGV: incarnation, room, channel, event, quiet_above, user.
-- Returns 1 if this took the user out of the room.

local incarnation, room, channel, event, quiet_above, user =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local rest, found = {}, false
for holder in string.gmatch(redis.call('HGET', KEYS[2], user) or '', '%S+') do
  if holder == incarnation then found = true else rest[#rest + 1] = holder end
end
local left = 0
if found and #rest > 0 then
  redis.call('HSET', KEYS[2], user, table.concat(rest, ' '))
elseif found then
  left = 1
  if redis.call('ZCARD', KEYS[1]) <= quiet_above then redis.call('PUBLISH', channel, event) end
  redis.call('HDEL', KEYS[2], user)
  redis.call('ZREM', KEYS[1], user)
end
redis.call('ZREM', KEYS[3], room .. '\n' .. user)
return left
