#!lua flags=allow-oom
-- Adds users to a room for an incarnation. Idempotent.
--
-- KEYS: members (zset), holders (hash), held (zset of the incarnation), leases (zset). Without the last two, the caller has
--       written to `held` before, and only a lease makes the incarnation known.
-- ARGV: incarnation, room, channel, the command that publishes, quiet_above, then each user and its event (empty: none).
-- Returns 1 if the last user was not in the room before.

local members, holders, held, leases = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local incarnation, room, channel, publish, quiet_above = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

-- An incarnation that lost its lease is listed again, as expired, so that another node finds and removes its members.
if leases then redis.call('ZADD', leases, 'NX', 0, incarnation) end

local entered = 0
for i = 6, #ARGV, 2 do
  local user, event = ARGV[i], ARGV[i + 1]
  local user_holders = redis.call('HGET', holders, user)
  entered = 0
  if not user_holders then
    if held then redis.call('ZADD', held, 0, room .. '\n' .. user) end
    redis.call('ZADD', members, 0, user)
    redis.call('HSET', holders, user, incarnation)
    entered = 1
  elseif not string.find(' ' .. user_holders .. ' ', ' ' .. incarnation .. ' ', 1, true) then
    if held then redis.call('ZADD', held, 0, room .. '\n' .. user) end
    redis.call('HSET', holders, user, user_holders .. ' ' .. incarnation)
  end
  if entered == 1 and event ~= '' and redis.call('ZCARD', members) <= quiet_above then
    redis.call(publish, channel, event)
  end
end
return entered
