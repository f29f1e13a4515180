-- Notes that a user makes a room, or that it does not after all. A user has made only so many.
--
-- KEYS: rooms (zset, by the time at which they were made) of the user.
-- ARGV: room, how many may be there (0: the room is taken out).
-- Returns 1 if the room is there, 2 if this added it, 0 if there are too many, or if it was taken out.

local rooms, room, most = KEYS[1], ARGV[1], tonumber(ARGV[2])
if most == 0 then
  redis.call('ZREM', rooms, room)
  return 0
end
if redis.call('ZSCORE', rooms, room) then return 1 end
if redis.call('ZCARD', rooms) >= most then return 0 end
redis.call('ZADD', rooms, redis.call('TIME')[1], room)
return 2
