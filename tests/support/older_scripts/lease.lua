-- Everything that happens to leases, by the clock of Redis alone: the clocks of nodes differ.
--
-- KEYS: leases (zset: incarnation by end of lease in ms; 0 is dead), nodes (hash: incarnation to name), then per action.
-- ARGV: the action, an incarnation, then per action.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local leases, nodes, action, incarnation = KEYS[1], KEYS[2], ARGV[1], ARGV[2]

local function run(lease)
  redis.call('ZADD', leases, string.format('%.0f', now + tonumber(lease)), incarnation)
end

local actions = {}

-- ARGV: lease ms, node name, 1 to take it. Returns 1 if the lease stands, and which run of the server this is.
function actions.renew()
  local score = redis.call('ZSCORE', leases, incarnation)
  local stands = ARGV[5] == '1' or (score and tonumber(score) > 0)
  if stands then
    run(ARGV[3])
    redis.call('HSET', nodes, incarnation, ARGV[4])
  end
  return { stands and 1 or 0, string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or '' }
end

-- ARGV: lease ms. A last lease, in which the successor enters everybody again before the reapers come; not for one
-- that a reaper has.
function actions.retire()
  local score = redis.call('ZSCORE', leases, incarnation)
  if not score or tonumber(score) > 0 then run(ARGV[3]) end
  return 1
end

-- ARGV: how many. Returns incarnations whose lease has ended.
function actions.ended()
  return redis.call('ZRANGEBYSCORE', leases, '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[3])
end

-- KEYS: claim. ARGV: claim ms, the claimant. Returns 1 if the incarnation is the claimant's to reap.
function actions.claim()
  local score = redis.call('ZSCORE', leases, incarnation)
  if not score or tonumber(score) > now then return 0 end
  if not redis.call('SET', KEYS[3], ARGV[4], 'NX', 'PX', ARGV[3]) then return 0 end
  redis.call('ZADD', leases, 0, incarnation)
  return 1
end

-- KEYS: held, claim. Forgets the incarnation if it holds nobody; else it stays, dead at once.
function actions.bury()
  if redis.call('ZCARD', KEYS[3]) > 0 then
    redis.call('ZADD', leases, 0, incarnation)
  else
    redis.call('ZREM', leases, incarnation)
    redis.call('HDEL', nodes, incarnation)
  end
  redis.call('DEL', KEYS[4])
  return 1
end

-- Returns incarnation, name and rest of the lease in ms, flat.
function actions.list()
  local list, names = {}, {}
  local flat = redis.call('HGETALL', nodes)
  for i = 1, #flat, 2 do names[flat[i]] = flat[i + 1] end
  local all = redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES')
  for i = 1, #all, 2 do
    list[#list + 1] = all[i]
    list[#list + 1] = names[all[i]] or ''
    list[#list + 1] = string.format('%.0f', math.max(0, tonumber(all[i + 1]) - now))
  end
  return list
end

return actions[action]()
