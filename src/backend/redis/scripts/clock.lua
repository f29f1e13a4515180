#!lua flags=allow-oom
-- Changes the offset of the nodes' common time, unless another node has changed it first.
--
-- KEYS: clock (hash; its field offset, ms; none means 0). ARGV: known offset, new offset. Returns the offset from now on.

local stored = redis.call('HGET', KEYS[1], 'offset') or '0'
if stored ~= ARGV[1] then return stored end
redis.call('HSET', KEYS[1], 'offset', ARGV[2])
return ARGV[2]
