-- Reads the members among the next names of a room. A member needs a holder with a running lease.
--
-- KEYS: members (zset), holders (hash), leases (zset), nodes (hash).
-- ARGV: the reader's incarnation, lower bound in the form of ZRANGEBYLEX, number of names to look at.
-- Returns 1 if every incarnation is live (then the size of the room is the number of its members), the size of the room,
-- the last name, the number of names, and the members among them.

local members, holders, leases, nodes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local own, lower_bound, limit = ARGV[1], ARGV[2], ARGV[3]

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local live, incarnations = {}, redis.call('ZRANGEBYSCORE', leases, '(' .. string.format('%.0f', now), '+inf')
for _, incarnation in ipairs(incarnations) do live[incarnation] = true end
-- If a lease was deleted, its node remains in `nodes`. If both were deleted, the reader's own lease was deleted too.
local all_live = live[own]
  and #incarnations == redis.call('ZCARD', leases)
  and #incarnations == redis.call('HLEN', nodes)

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
return { all_live and 1 or 0, redis.call('ZCARD', members), names[#names] or '', #names, live_names }
