-- Reads the members among the next names of a room. A member needs a holder with a running lease.
--
-- KEYS: members (zset), holders (hash), leases (zset), nodes (hash).
-- ARGV: the reader's incarnation, lower bound in the form of ZRANGEBYLEX, number of names to look at, then incarnation and
--       beat of each lease that has ended for the reader.
-- Returns 1 if the reader's lease runs (if not, Redis may have been emptied), 1 if every incarnation is live (then the size
-- of the room is the number of its members), the size of the room, the last name, the number of names, and the members
-- among them.

local members, holders, leases, nodes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local own, lower_bound, limit = ARGV[1], ARGV[2], ARGV[3]

local ended = {}
for i = 4, #ARGV, 2 do ended[ARGV[i]] = ARGV[i + 1] end
local live, live_count, running = {}, 0, redis.call('ZRANGEBYSCORE', leases, '(0', '+inf', 'WITHSCORES')
for i = 1, #running, 2 do
  if ended[running[i]] ~= running[i + 1] then
    live[running[i]] = true
    live_count = live_count + 1
  end
end
-- If a lease was deleted, its node remains in `nodes`. If both were deleted, the reader's own lease was deleted too.
local all_live = live[own]
  and live_count == redis.call('ZCARD', leases)
  and live_count == redis.call('HLEN', nodes)

local names = redis.call('ZRANGEBYLEX', members, lower_bound, '+', 'LIMIT', 0, limit)
local live_names = names
if not all_live and #names > 0 then
  live_names = {}
  for i, name_holders in ipairs(redis.call('HMGET', holders, unpack(names))) do
    for holder in string.gmatch(name_holders or '', '%S+') do
      if live[holder] then
        live_names[#live_names + 1] = names[i]
        break
      end
    end
  end
end
return { live[own] and 1 or 0, all_live and 1 or 0, redis.call('ZCARD', members), names[#names] or '', #names, live_names }
