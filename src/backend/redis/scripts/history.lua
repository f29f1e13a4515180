-- Reads a page of a log, with its top. Starts the log if there is none, and deletes expired entries.
--
-- KEYS: the four keys of the log (see log.lua).
-- ARGV: epoch for a new log, max age in ms, direction (top, after, newest, before), seq, max entries, max bytes.
-- Returns epoch, seq and message id of the top, 1 if more entries follow in the direction of reading, and the entries in
-- the form of XRANGE.

local log = open_log(1, ARGV[1], tonumber(ARGV[2]))
local direction, from_seq, max_entries, max_bytes = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
extend_expiry(log.meta, log.meta_ttl)
if trim(log, math.huge, math.huge) then save(log) end

local page, bytes, more = {}, 0, 0
if direction ~= 'top' and log.first_seq <= log.seq then
  local forward = direction == 'after'
  -- The exclusive bound stays text: a seq that a client invented may be too large for a Lua number.
  local bound = forward and '(' .. from_seq .. '-0' or direction == 'before' and '(' .. from_seq .. '-0' or '+'
  while true do
    local batch
    -- Small batches: a large batch of large bodies would be read only to be cut.
    local count = math.min(max_entries - #page, 16)
    if forward then
      batch = redis.call('XRANGE', log.stream, bound, '+', 'COUNT', count)
    else
      batch = redis.call('XREVRANGE', log.stream, bound, '-', 'COUNT', count)
    end
    local full = false
    for _, entry in ipairs(batch) do
      bytes = bytes + #(entry[2][8] or fail(log.stream, 'entry'))
      if #page > 0 and bytes > max_bytes then
        full = true
        break
      end
      page[#page + 1] = entry
      bound = '(' .. entry[1]
    end
    if full or #page >= max_entries or #batch < count then break end
  end
  if #page > 0 then
    local last_seq = tonumber(string.match(page[#page][1], '^%d+'))
    if forward and last_seq < log.seq or not forward and last_seq > log.first_seq then more = 1 end
  end
end
return { log.epoch, int(log.seq), log.last_id, more, page }
