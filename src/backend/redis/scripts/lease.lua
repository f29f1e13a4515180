#!lua flags=allow-oom
-- All actions on leases. They use only the clock of Redis, because the clocks of the nodes differ.
--
-- KEYS: leases (zset: incarnation by end of lease in ms; 0 means expired), nodes (hash: incarnation to name), then the
--       keys of the action.
-- ARGV: action, incarnation, then the arguments of the action.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- How long the claim of an incarnation is remembered: longer than a node may stand still and come back.
local MEMORY = 7 * 86400000
local leases, nodes, action, incarnation = KEYS[1], KEYS[2], ARGV[1], ARGV[2]

local function extend(duration)
  redis.call('ZADD', leases, string.format('%.0f', now + tonumber(duration)), incarnation)
end

local actions = {}

-- KEYS: claimed. ARGV: duration in ms, node name, 1 to acquire the lease. Returns 1 if the lease runs, the run id of the
-- server, and 1 if another node has claimed the incarnation.
function actions.renew()
  local lease_end = redis.call('ZSCORE', leases, incarnation)
  local is_running = ARGV[5] == '1' or (lease_end and tonumber(lease_end) > 0)
  if is_running then
    extend(ARGV[3])
    redis.call('HSET', nodes, incarnation, ARGV[4])
  end
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
  local was_claimed = not is_running and redis.call('ZSCORE', KEYS[3], incarnation)
  return { is_running and 1 or 0, run_id, was_claimed and 1 or 0 }
end

-- ARGV: duration in ms. Grants one last lease, in which the node's next incarnation restores all members before other
-- nodes remove them. Grants none if a node has already claimed the incarnation.
function actions.retire()
  local lease_end = redis.call('ZSCORE', leases, incarnation)
  if not lease_end or tonumber(lease_end) > 0 then extend(ARGV[3]) end
  return 1
end

-- ARGV: limit. Returns expired incarnations.
function actions.expired()
  return redis.call('ZRANGEBYSCORE', leases, '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[3])
end

-- KEYS: claim, claimed (zset: incarnation by the time of its claim). ARGV: duration of the claim in ms, the claiming
-- incarnation. Returns 1 if the claim succeeded. Then the claiming node alone may remove the members. If the node of the
-- incarnation comes back, `claimed` says that others were told of their `Leave`.
function actions.claim()
  local lease_end = redis.call('ZSCORE', leases, incarnation)
  if not lease_end or tonumber(lease_end) > now then return 0 end
  if not redis.call('SET', KEYS[3], ARGV[4], 'NX', 'PX', ARGV[3]) then return 0 end
  redis.call('ZADD', leases, 0, incarnation)
  redis.call('ZADD', KEYS[4], string.format('%.0f', now), incarnation)
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', string.format('%.0f', now - MEMORY))
  redis.call('PEXPIRE', KEYS[4], string.format('%.0f', MEMORY))
  return 1
end

-- KEYS: held, claim. Deletes the incarnation. If it still holds members, it expires at once instead.
function actions.forget()
  if redis.call('ZCARD', KEYS[3]) > 0 then
    redis.call('ZADD', leases, 0, incarnation)
  else
    redis.call('ZREM', leases, incarnation)
    redis.call('HDEL', nodes, incarnation)
  end
  redis.call('DEL', KEYS[4])
  return 1
end

-- Returns incarnation, name and remaining time in ms of each lease, as a flat list.
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
