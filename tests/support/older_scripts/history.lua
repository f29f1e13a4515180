-- Reads a page of one log, with its top. Starts the log if there is none, and trims what has expired.
--
-- KEYS: the log's four (see log.lua).
-- ARGV: epoch in case it starts afresh, max age ms, direction (top, after, newest, before), seq, most entries, most bytes.
-- Returns epoch, seq, message id, 1 if there is more in the direction of reading, and the entries as XRANGE gives them.

local log = open_log(1, ARGV[1], tonumber(ARGV[2]))
local direction, from, limit, max_bytes = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
keep(log.meta, log.meta_ttl)
if trim(log, math.huge, math.huge) then save(log) end

local page, bytes, more = {}, 0, 0
if direction ~= 'top' and log.first <= log.seq then
  local forward = direction == 'after'
  -- Exclusive bounds as text: a position that a client made up may be larger than Lua counts.
  local bound = forward and '(' .. from .. '-0' or direction == 'before' and '(' .. from .. '-0' or '+'
  while true do
    local batch
    -- In pieces, so that a page of large bodies is not read whole only to be cut.
    local count = math.min(limit - #page, 16)
    if forward then
      batch = redis.call('XRANGE', log.stream, bound, '+', 'COUNT', count)
    else
      batch = redis.call('XREVRANGE', log.stream, bound, '-', 'COUNT', count)
    end
    local full = false
    for _, entry in ipairs(batch) do
      bytes = bytes + #entry[2][8]
      if #page > 0 and bytes > max_bytes then
        full = true
        break
      end
      page[#page + 1] = entry
      bound = '(' .. entry[1]
    end
    if full or #page >= limit or #batch < count then break end
  end
  if #page > 0 then
    local edge = tonumber(string.match(page[#page][1], '^%d+'))
    if forward and edge < log.seq or not forward and edge > log.first then more = 1 end
  end
end
return { log.epoch, int(log.seq), log.last, more, page }
