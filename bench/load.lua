-- wrk -s load.lua URL -- PATH COOKIEFILE [METHOD BODYFILE] : each request takes the next Cookie line (or none, for "-").
-- Requests are put together once, so that the generator stays cheap. The last line it prints is JSON.
local requests, count, at = {}, 0, 0

function init(args)
  local path, cookies, method = args[1], args[2], args[3] or "GET"
  local body = nil
  if args[4] then
    local file = io.open(args[4])
    body = file:read("*a")
    file:close()
  end
  local headers = { ["Host"] = wrk.host .. ":" .. wrk.port }
  if body then headers["Content-Type"] = "application/json" end
  if cookies and cookies ~= "-" then
    for line in io.lines(cookies) do
      headers["Cookie"] = line
      count = count + 1
      requests[count] = wrk.format(method, path, headers, body)
    end
  end
  if count == 0 then
    -- "{n}" in a path becomes 0 to 63, so that keys are spread like sessions are.
    for n = 0, 63 do
      count = count + 1
      requests[count] = wrk.format(method, (path:gsub("{n}", tostring(n))), headers, body)
    end
  end
end

function request()
  at = at % count + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nJSON{"requests":%d,"us":%d,"bad":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)
  ))
end
