#!lua flags=allow-oom
-- Removes a user from a room for an incarnation. Idempotent.
--
-- KEYS: members (zset), holders (hash), held (zset of the incarnation). Without the last, the caller writes to it afterwards.
-- ARGV: incarnation, room, channel, the command that publishes, event (empty: none), quiet_above, user.
-- Returns 1 if this removed the user's last holder.

local members, holders, held = KEYS[1], KEYS[2], KEYS[3]
local incarnation, room, channel, publish, event, quiet_above, user =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7]
local others, is_held = {}, false
for holder in string.gmatch(redis.call('HGET', holders, user) or '', '%S+') do
  if holder == incarnation then is_held = true else others[#others + 1] = holder end
end
local left = 0
if is_held and #others > 0 then
  redis.call('HSET', holders, user, table.concat(others, ' '))
elseif is_held then
  left = 1
  if event ~= '' and redis.call('ZCARD', members) <= quiet_above then redis.call(publish, channel, event) end
  redis.call('HDEL', holders, user)
  redis.call('ZREM', members, user)
end
if held then redis.call('ZREM', held, room .. '\n' .. user) end
return left
