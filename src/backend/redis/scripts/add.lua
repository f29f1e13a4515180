-- An incarnation holds users in a room. Idempotent.
--
-- KEYS: members (zset), holders (hash), held (zset of the incarnation), leases (zset).
-- ARGV: incarnation, room, channel, event (empty: none), quiet_above, then the users.
-- Returns 1 if the last user was not in the room before.

local incarnation, room, channel, event, quiet_above = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

-- Whatever is held is found by a reaper: an incarnation that has lost its lease stays known, as dead.
redis.call('ZADD', KEYS[4], 'NX', 0, incarnation)

local entered = 0
for i = 6, #ARGV do
  local user = ARGV[i]
  local holders = redis.call('HGET', KEYS[2], user)
  entered = 0
  if not holders then
    redis.call('ZADD', KEYS[3], 0, room .. '\n' .. user)
    redis.call('ZADD', KEYS[1], 0, user)
    redis.call('HSET', KEYS[2], user, incarnation)
    entered = 1
  elseif not string.find(' ' .. holders .. ' ', ' ' .. incarnation .. ' ', 1, true) then
    redis.call('ZADD', KEYS[3], 0, room .. '\n' .. user)
    redis.call('HSET', KEYS[2], user, holders .. ' ' .. incarnation)
  end
end
if entered == 1 and event ~= '' and redis.call('ZCARD', KEYS[1]) <= quiet_above then
  redis.call('PUBLISH', channel, event)
end
return entered
