// A GenTL producer (EMVA GenTL 1.5) with one camera, for tests: every pixel of every picture is known. Its frames are
// ramps: pixel (x, y) of frame n holds (x + 2 y + n) mod 256, in Mono8 or BayerRG8. With EDGEAD_TEST_INCOMPLETE=N every
// Nth frame is marked incomplete. Triggered by a line it sends nothing: there is no line.
//
//   g++ -std=c++17 -O1 -shared -fPIC -pthread gentl_producer.cpp -o camera.cti
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#define API extern "C" __attribute__((visibility("default"))) int32_t

namespace {
enum Error { Ok = 0, Failed = -1001, NotImplemented = -1003, InvalidHandle = -1006, InvalidId = -1007, NoData = -1008,
             InvalidParameter = -1009, Timeout = -1011, Abort = -1012, NotAvailable = -1014, InvalidAddress = -1015,
             TooSmall = -1016, InvalidIndex = -1017 };
enum Type { String = 1, Int32 = 5, UInt32 = 6, UInt64 = 8, Pointer = 10, Bool8 = 11, SizeT = 12 };

const char* const kCamera = R"(<?xml version="1.0" encoding="utf-8"?>
<RegisterDescription xmlns="http://www.genicam.org/GenApi/Version_1_1" ModelName="Ramp" VendorName="edgead"
 StandardNameSpace="None" SchemaMajorVersion="1" SchemaMinorVersion="1" SchemaSubMinorVersion="0" MajorVersion="1"
 MinorVersion="0" SubMinorVersion="0" ProductGuid="00000000-0000-0000-0000-000000000001"
 VersionGuid="00000000-0000-0000-0000-000000000002">
<Category Name="Root"><pFeature>Width</pFeature><pFeature>Height</pFeature><pFeature>PixelFormat</pFeature>
 <pFeature>PayloadSize</pFeature><pFeature>ExposureTime</pFeature><pFeature>Gain</pFeature>
 <pFeature>AcquisitionFrameRate</pFeature><pFeature>TriggerSelector</pFeature><pFeature>TriggerMode</pFeature>
 <pFeature>TriggerSource</pFeature><pFeature>AcquisitionStart</pFeature><pFeature>AcquisitionStop</pFeature>
 <pFeature>TLParamsLocked</pFeature></Category>
<Integer Name="Width"><pValue>WidthReg</pValue><Min>16</Min><Max>4096</Max><Inc>8</Inc></Integer>
<IntReg Name="WidthReg"><Address>0x00</Address><Length>4</Length><AccessMode>RW</AccessMode><pPort>Device</pPort>
 <Sign>Unsigned</Sign><Endianess>LittleEndian</Endianess></IntReg>
<Integer Name="Height"><pValue>HeightReg</pValue><Min>16</Min><Max>4096</Max><Inc>2</Inc></Integer>
<IntReg Name="HeightReg"><Address>0x04</Address><Length>4</Length><AccessMode>RW</AccessMode><pPort>Device</pPort>
 <Sign>Unsigned</Sign><Endianess>LittleEndian</Endianess></IntReg>
<Enumeration Name="PixelFormat"><EnumEntry Name="Mono8"><Value>0x01080001</Value></EnumEntry>
 <EnumEntry Name="BayerRG8"><Value>0x01080009</Value></EnumEntry><pValue>PixelFormatReg</pValue></Enumeration>
<IntReg Name="PixelFormatReg"><Address>0x08</Address><Length>4</Length><AccessMode>RW</AccessMode>
 <pPort>Device</pPort><Sign>Unsigned</Sign><Endianess>LittleEndian</Endianess></IntReg>
<IntSwissKnife Name="PayloadSize"><pVariable Name="W">Width</pVariable><pVariable Name="H">Height</pVariable>
 <Formula>W*H</Formula></IntSwissKnife>
<Float Name="ExposureTime"><pValue>ExposureReg</pValue><Min>10</Min><Max>1000000</Max><Unit>us</Unit></Float>
<FloatReg Name="ExposureReg"><Address>0x10</Address><Length>8</Length><AccessMode>RW</AccessMode>
 <pPort>Device</pPort><Endianess>LittleEndian</Endianess></FloatReg>
<Float Name="Gain"><pValue>GainReg</pValue><Min>0</Min><Max>24</Max></Float>
<FloatReg Name="GainReg"><Address>0x18</Address><Length>8</Length><AccessMode>RW</AccessMode>
 <pPort>Device</pPort><Endianess>LittleEndian</Endianess></FloatReg>
<Float Name="AcquisitionFrameRate"><pValue>RateReg</pValue><Min>1</Min><Max>500</Max></Float>
<FloatReg Name="RateReg"><Address>0x20</Address><Length>8</Length><AccessMode>RW</AccessMode>
 <pPort>Device</pPort><Endianess>LittleEndian</Endianess></FloatReg>
<Enumeration Name="TriggerSelector"><EnumEntry Name="FrameStart"><Value>0</Value></EnumEntry><Value>0</Value>
</Enumeration>
<Enumeration Name="TriggerMode"><EnumEntry Name="Off"><Value>0</Value></EnumEntry>
 <EnumEntry Name="On"><Value>1</Value></EnumEntry><pValue>TriggerReg</pValue></Enumeration>
<IntReg Name="TriggerReg"><Address>0x28</Address><Length>4</Length><AccessMode>RW</AccessMode><pPort>Device</pPort>
 <Sign>Unsigned</Sign><Endianess>LittleEndian</Endianess></IntReg>
<Enumeration Name="TriggerSource"><EnumEntry Name="Line0"><Value>0</Value></EnumEntry><Value>0</Value></Enumeration>
<Command Name="AcquisitionStart"><pValue>StartReg</pValue><CommandValue>1</CommandValue></Command>
<IntReg Name="StartReg"><Address>0x30</Address><Length>4</Length><AccessMode>RW</AccessMode><pPort>Device</pPort>
 <Cachable>NoCache</Cachable><Sign>Unsigned</Sign><Endianess>LittleEndian</Endianess></IntReg>
<Command Name="AcquisitionStop"><pValue>StopReg</pValue><CommandValue>1</CommandValue></Command>
<IntReg Name="StopReg"><Address>0x34</Address><Length>4</Length><AccessMode>RW</AccessMode><pPort>Device</pPort>
 <Cachable>NoCache</Cachable><Sign>Unsigned</Sign><Endianess>LittleEndian</Endianess></IntReg>
<Integer Name="TLParamsLocked"><Value>0</Value><Min>0</Min><Max>1</Max></Integer>
<Port Name="Device"/>
</RegisterDescription>
)";
const char* const kModule = R"(<?xml version="1.0" encoding="utf-8"?>
<RegisterDescription xmlns="http://www.genicam.org/GenApi/Version_1_1" ModelName="Module" VendorName="edgead"
 StandardNameSpace="None" SchemaMajorVersion="1" SchemaMinorVersion="1" SchemaSubMinorVersion="0" MajorVersion="1"
 MinorVersion="0" SubMinorVersion="0" ProductGuid="00000000-0000-0000-0000-000000000003"
 VersionGuid="00000000-0000-0000-0000-000000000004">
<Category Name="Root"/><Port Name="Device"/>
</RegisterDescription>
)";
constexpr uint64_t kXml = 0x10000;  // where a port's description lies
constexpr const char* kSerial = "EDGEAD7";

struct Registers {
  uint32_t width = 64, height = 48, format = 0x01080001, unused = 0;
  double exposure = 1000, gain = 0, rate = 50;
  uint32_t trigger = 0, unused2 = 0, start = 0, stop = 0;
} registers;
static_assert(sizeof(Registers) == 0x38, "as the description has it");

struct Buffer {
  std::vector<uint8_t> owned;
  uint8_t* data = nullptr;
  size_t size = 0;
  void* user = nullptr;
  uint32_t width = 0, height = 0, format = 0;
  uint64_t frame = 0, stamp = 0;
  bool queued = false, incomplete = false;
};

std::mutex mutex;
std::condition_variable changed;
std::map<Buffer*, std::unique_ptr<Buffer>> buffers;
std::deque<Buffer*> input, output;
bool grabbing = false, killed = false;
uint64_t delivered = 0;
std::thread worker;
char tl, interface, device, remote, stream, event;  // the addresses are the handles

const char* module_of(void* port) {
  return port == &tl ? "TLSystem" : port == &interface ? "TLInterface" : port == &device ? "TLDevice"
       : port == &stream ? "TLDataStream" : "Device";
}
const char* description(void* port) { return port == &remote ? kCamera : kModule; }

int32_t text(const std::string& value, int32_t* type, void* to, size_t* size) {
  if (type) *type = String;
  const size_t needed = value.size() + 1;
  if (to && *size < needed) return TooSmall;
  if (to) std::memcpy(to, value.c_str(), needed);
  *size = needed;
  return Ok;
}
template <typename T>
int32_t number(T value, Type kind, int32_t* type, void* to, size_t* size) {
  if (type) *type = kind;
  if (to && *size < sizeof(T)) return TooSmall;
  if (to) std::memcpy(to, &value, sizeof(T));
  *size = sizeof(T);
  return Ok;
}
int32_t flag(bool value, int32_t* type, void* to, size_t* size) {
  return number<uint8_t>(value, Bool8, type, to, size);
}

void work() {
  const char* asked = std::getenv("EDGEAD_TEST_INCOMPLETE");
  const uint64_t every = asked ? std::strtoull(asked, nullptr, 10) : 0;
  std::unique_lock<std::mutex> lock(mutex);
  for (uint64_t frame = 0; grabbing; ++frame) {
    changed.wait_for(lock, std::chrono::duration<double>(1 / registers.rate), [] { return !grabbing; });
    if (!grabbing || !registers.start || registers.trigger || input.empty()) continue;
    Buffer* buffer = input.front();
    const size_t needed = size_t(registers.width) * registers.height;
    if (buffer->size < needed) continue;
    input.pop_front();
    for (uint32_t y = 0; y < registers.height; ++y)
      for (uint32_t x = 0; x < registers.width; ++x)
        buffer->data[size_t(y) * registers.width + x] = uint8_t(x + 2 * y + frame);
    buffer->width = registers.width, buffer->height = registers.height, buffer->format = registers.format;
    buffer->frame = frame, buffer->incomplete = every && frame % every == every - 1;
    buffer->stamp = std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
    output.push_back(buffer);
    ++delivered;
    changed.notify_all();
  }
}

void stop() {
  { std::lock_guard<std::mutex> lock(mutex); grabbing = false; changed.notify_all(); }
  if (worker.joinable()) worker.join();
}

int32_t device_info(int32_t command, int32_t* type, void* to, size_t* size) {
  switch (command) {
    case 0: return text("ramp0", type, to, size);
    case 1: return text("edgead", type, to, size);
    case 2: return text("Ramp", type, to, size);
    case 3: return text("Custom", type, to, size);
    case 4: return text("edgead Ramp", type, to, size);
    case 5: return number<int32_t>(1, Int32, type, to, size);
    case 6: return text("", type, to, size);
    case 7: return text(kSerial, type, to, size);
    case 8: return text("1", type, to, size);
    case 9: return number<uint64_t>(1000000000, UInt64, type, to, size);
    default: return NotAvailable;
  }
}
int32_t tl_info(int32_t command, int32_t* type, void* to, size_t* size) {
  static const char* const texts[] = {"edgead-ramp", "edgead", "Ramp", "1", "Custom", "camera.cti", "camera.cti", "Ramp"};
  if (command >= 0 && command < 8) return text(texts[command], type, to, size);
  if (command == 8) return number<int32_t>(0, Int32, type, to, size);  // ASCII
  if (command == 9 || command == 10) return number<uint32_t>(command == 9 ? 1 : 5, UInt32, type, to, size);
  return NotAvailable;
}
int32_t interface_info(int32_t command, int32_t* type, void* to, size_t* size) {
  static const char* const texts[] = {"loop0", "Loop", "Custom"};
  return command >= 0 && command < 3 ? text(texts[command], type, to, size) : NotAvailable;
}
int32_t port(void* handle, uint64_t address, void* to, const void* from, size_t* size) {
  if (address >= kXml) {
    const char* xml = description(handle);
    const size_t length = std::strlen(xml);
    if (!to || address - kXml + *size > length) return InvalidAddress;
    std::memcpy(to, xml + (address - kXml), *size);
    return Ok;
  }
  if (handle != &remote || address + *size > sizeof registers) return InvalidAddress;
  std::lock_guard<std::mutex> lock(mutex);
  uint8_t* at = reinterpret_cast<uint8_t*>(&registers) + address;
  to ? std::memcpy(to, at, *size) : std::memcpy(at, from, *size);
  if (registers.stop) registers.start = registers.stop = 0;
  return Ok;
}
std::string url(void* handle) {
  char words[80];
  std::snprintf(words, sizeof words, "Local:%s.xml;%llX;%zX", module_of(handle), static_cast<unsigned long long>(kXml),
                std::strlen(description(handle)));
  return words;
}
}  // namespace

API GCInitLib() { return Ok; }
API GCCloseLib() { return Ok; }
API GCGetInfo(int32_t c, int32_t* t, void* b, size_t* s) { return tl_info(c, t, b, s); }
API GCGetLastError(int32_t* code, char* words, size_t* size) { *code = Failed; return text("failed", nullptr, words, size); }
API GCReadPort(void* h, uint64_t a, void* b, size_t* s) { return port(h, a, b, nullptr, s); }
API GCWritePort(void* h, uint64_t a, const void* b, size_t* s) { return port(h, a, nullptr, b, s); }
API GCGetPortURL(void* h, char* b, size_t* s) { return text(url(h), nullptr, b, s); }
API GCGetNumPortURLs(void*, uint32_t* count) { *count = 1; return Ok; }
API GCGetPortURLInfo(void* h, uint32_t, int32_t c, int32_t* t, void* b, size_t* s) {
  if (c == 0) return text(url(h), t, b, s);
  if (c >= 1 && c <= 5) return number<int32_t>(c == 1 || c == 2 || c == 3 ? 1 : 0, Int32, t, b, s);
  if (c == 7) return number<uint64_t>(kXml, UInt64, t, b, s);
  if (c == 8) return number<uint64_t>(std::strlen(description(h)), UInt64, t, b, s);
  if (c == 9) return number<int32_t>(0, Int32, t, b, s);
  return NotAvailable;
}
API GCGetPortInfo(void* h, int32_t c, int32_t* t, void* b, size_t* s) {
  switch (c) {
    case 0: case 4: return text(module_of(h), t, b, s);
    case 1: return text("edgead", t, b, s);
    case 2: return text("Ramp", t, b, s);
    case 3: return text("Custom", t, b, s);
    case 5: case 7: case 8: return flag(true, t, b, s);
    case 6: case 9: case 10: return flag(false, t, b, s);
    case 11: return text("1", t, b, s);
    case 12: return text("Device", t, b, s);
    default: return NotAvailable;
  }
}
struct __attribute__((packed)) Entry { uint64_t address; void* data; size_t size; };
API GCReadPortStacked(void* h, Entry* entries, size_t* count) {
  for (size_t at = 0; at < *count; ++at) {
    size_t size = entries[at].size;
    if (int32_t error = port(h, entries[at].address, entries[at].data, nullptr, &size)) return error;
  }
  return Ok;
}
API GCWritePortStacked(void* h, Entry* entries, size_t* count) {
  for (size_t at = 0; at < *count; ++at) {
    size_t size = entries[at].size;
    if (int32_t error = port(h, entries[at].address, nullptr, entries[at].data, &size)) return error;
  }
  return Ok;
}
API GCRegisterEvent(void*, int32_t kind, void** handle) { *handle = &event; return kind == 1 ? Ok : NotImplemented; }
API GCUnregisterEvent(void*, int32_t) { return Ok; }
API EventGetInfo(void*, int32_t c, int32_t* t, void* b, size_t* s) {
  std::lock_guard<std::mutex> lock(mutex);
  switch (c) {
    case 0: return number<int32_t>(1, Int32, t, b, s);
    case 1: return number<size_t>(output.size(), SizeT, t, b, s);
    case 2: return number<uint64_t>(delivered, UInt64, t, b, s);
    case 3: case 4: return number<size_t>(2 * sizeof(void*), SizeT, t, b, s);
    default: return NotAvailable;
  }
}
API EventGetData(void*, void* to, size_t* size, uint64_t milliseconds) {
  std::unique_lock<std::mutex> lock(mutex);
  const auto most = std::chrono::milliseconds(std::min<uint64_t>(milliseconds, 3600000));
  if (!changed.wait_for(lock, most, [] { return killed || !output.empty(); })) return Timeout;
  if (killed) { killed = false; return Abort; }
  if (*size < 2 * sizeof(void*)) return TooSmall;
  void* said[] = {output.front(), output.front()->user};
  output.pop_front();
  std::memcpy(to, said, sizeof said);
  *size = sizeof said;
  return Ok;
}
API EventGetDataInfo(void*, const void* from, size_t, int32_t c, int32_t* t, void* b, size_t* s) {
  void* handle;
  std::memcpy(&handle, from, sizeof handle);
  return c == 0 || c == 1 ? number<void*>(handle, Pointer, t, b, s) : NotAvailable;
}
API EventFlush(void*) { std::lock_guard<std::mutex> lock(mutex); output.clear(); return Ok; }
API EventKill(void*) { std::lock_guard<std::mutex> lock(mutex); killed = true; changed.notify_all(); return Ok; }

API TLOpen(void** h) { *h = &tl; return Ok; }
API TLClose(void*) { return Ok; }
API TLGetInfo(void*, int32_t c, int32_t* t, void* b, size_t* s) { return tl_info(c, t, b, s); }
API TLGetNumInterfaces(void*, uint32_t* count) { *count = 1; return Ok; }
API TLGetInterfaceID(void*, uint32_t at, char* b, size_t* s) { return at ? InvalidIndex : text("loop0", nullptr, b, s); }
API TLGetInterfaceInfo(void*, const char*, int32_t c, int32_t* t, void* b, size_t* s) { return interface_info(c, t, b, s); }
API TLOpenInterface(void*, const char* id, void** h) { *h = &interface; return std::strcmp(id, "loop0") ? InvalidId : Ok; }
API TLUpdateInterfaceList(void*, uint8_t* changes, uint64_t) { if (changes) *changes = 0; return Ok; }
API IFClose(void*) { return Ok; }
API IFGetInfo(void*, int32_t c, int32_t* t, void* b, size_t* s) { return interface_info(c, t, b, s); }
API IFGetNumDevices(void*, uint32_t* count) { *count = 1; return Ok; }
API IFGetDeviceID(void*, uint32_t at, char* b, size_t* s) { return at ? InvalidIndex : text("ramp0", nullptr, b, s); }
API IFUpdateDeviceList(void*, uint8_t* changes, uint64_t) { if (changes) *changes = 1; return Ok; }
API IFGetDeviceInfo(void*, const char*, int32_t c, int32_t* t, void* b, size_t* s) { return device_info(c, t, b, s); }
API IFOpenDevice(void*, const char* id, int32_t, void** h) { *h = &device; return std::strcmp(id, "ramp0") ? InvalidId : Ok; }
API IFGetParentTL(void*, void** h) { *h = &tl; return Ok; }
API DevGetPort(void*, void** h) { *h = &remote; return Ok; }
API DevGetNumDataStreams(void*, uint32_t* count) { *count = 1; return Ok; }
API DevGetDataStreamID(void*, uint32_t at, char* b, size_t* s) { return at ? InvalidIndex : text("stream0", nullptr, b, s); }
API DevOpenDataStream(void*, const char*, void** h) { *h = &stream; return Ok; }
API DevGetInfo(void*, int32_t c, int32_t* t, void* b, size_t* s) { return device_info(c, t, b, s); }
API DevGetParentIF(void*, void** h) { *h = &interface; return Ok; }
API DevClose(void*) { registers = Registers(); return Ok; }

API DSAnnounceBuffer(void*, void* data, size_t size, void* user, void** h) {
  auto made = std::make_unique<Buffer>();
  if (data) {
    made->data = static_cast<uint8_t*>(data);
  } else {
    made->owned.resize(size);
    made->data = made->owned.data();
  }
  made->size = size, made->user = user;
  *h = made.get();
  std::lock_guard<std::mutex> lock(mutex);
  buffers[made.get()] = std::move(made);
  return Ok;
}
API DSAllocAndAnnounceBuffer(void* d, size_t size, void* user, void** h) { return DSAnnounceBuffer(d, nullptr, size, user, h); }
API DSFlushQueue(void*, int32_t operation) {
  std::lock_guard<std::mutex> lock(mutex);
  if (operation == 2 || operation == 3) {
    input.clear(), output.clear();
    for (auto& [buffer, owner] : buffers) input.push_back(buffer);
  } else {
    if (operation != 0) output.clear();
    if (operation == 4) input.clear();
  }
  return Ok;
}
API DSStartAcquisition(void*, int32_t, uint64_t) {
  stop();
  std::lock_guard<std::mutex> lock(mutex);
  grabbing = true, killed = false, delivered = 0;
  worker = std::thread(work);
  return Ok;
}
API DSStopAcquisition(void*, int32_t) { stop(); return Ok; }
API DSGetInfo(void*, int32_t c, int32_t* t, void* b, size_t* s) {
  std::lock_guard<std::mutex> lock(mutex);
  switch (c) {
    case 0: return text("stream0", t, b, s);
    case 1: return number<uint64_t>(delivered, UInt64, t, b, s);
    case 2: return number<uint64_t>(0, UInt64, t, b, s);
    case 3: return number<size_t>(buffers.size(), SizeT, t, b, s);
    case 4: return number<size_t>(input.size(), SizeT, t, b, s);
    case 5: return number<size_t>(output.size(), SizeT, t, b, s);
    case 6: return number<uint64_t>(delivered, UInt64, t, b, s);
    case 7: return number<size_t>(size_t(registers.width) * registers.height, SizeT, t, b, s);
    case 8: return flag(grabbing, t, b, s);
    case 9: return flag(false, t, b, s);
    case 10: return text("Custom", t, b, s);
    case 12: return number<size_t>(2, SizeT, t, b, s);
    case 13: return number<size_t>(1, SizeT, t, b, s);
    default: return NotAvailable;
  }
}
API DSGetBufferID(void*, uint32_t at, void** h) {
  std::lock_guard<std::mutex> lock(mutex);
  if (at >= buffers.size()) return InvalidIndex;
  *h = std::next(buffers.begin(), at)->first;
  return Ok;
}
API DSClose(void*) { stop(); return Ok; }
API DSRevokeBuffer(void*, void* handle, void** data, void** user) {
  std::lock_guard<std::mutex> lock(mutex);
  Buffer* buffer = static_cast<Buffer*>(handle);
  if (!buffers.count(buffer)) return InvalidHandle;
  if (data) *data = buffer->owned.empty() ? buffer->data : nullptr;
  if (user) *user = buffer->user;
  input.erase(std::remove(input.begin(), input.end(), buffer), input.end());
  output.erase(std::remove(output.begin(), output.end(), buffer), output.end());
  buffers.erase(buffer);
  return Ok;
}
API DSQueueBuffer(void*, void* handle) {
  std::lock_guard<std::mutex> lock(mutex);
  input.push_back(static_cast<Buffer*>(handle));
  return Ok;
}
API DSGetBufferInfo(void*, void* handle, int32_t c, int32_t* t, void* b, size_t* s) {
  std::lock_guard<std::mutex> lock(mutex);
  const Buffer& buffer = *static_cast<Buffer*>(handle);
  switch (c) {
    case 0: return number<void*>(buffer.data, Pointer, t, b, s);
    case 1: return number<size_t>(buffer.size, SizeT, t, b, s);
    case 2: return number<void*>(buffer.user, Pointer, t, b, s);
    case 3: case 28: return number<uint64_t>(buffer.stamp, UInt64, t, b, s);
    case 4: case 17: return flag(true, t, b, s);
    case 5: case 6: case 29: case 30: return flag(false, t, b, s);
    case 7: return flag(buffer.incomplete, t, b, s);
    case 8: return text("Custom", t, b, s);
    case 9: case 27: return number<size_t>(size_t(buffer.width) * buffer.height, SizeT, t, b, s);
    case 10: return number<size_t>(buffer.width, SizeT, t, b, s);
    case 11: case 22: return number<size_t>(buffer.height, SizeT, t, b, s);
    case 12: case 13: case 14: case 15: case 18: case 23: return number<size_t>(0, SizeT, t, b, s);
    case 16: return number<uint64_t>(buffer.frame, UInt64, t, b, s);
    case 19: return number<size_t>(1, SizeT, t, b, s);  // an image
    case 20: return number<uint64_t>(buffer.format, UInt64, t, b, s);
    case 21: return number<uint64_t>(4, UInt64, t, b, s);  // PFNC
    case 26: return number<int32_t>(1, Int32, t, b, s);
    default: return NotAvailable;
  }
}
API DSGetBufferChunkData(void*, void*, void*, size_t* count) { *count = 0; return Ok; }
API DSGetParentDev(void*, void** h) { *h = &device; return Ok; }
API DSGetNumBufferParts(void*, void*, uint32_t* count) { *count = 0; return Ok; }
API DSGetBufferPartInfo(void*, void*, uint32_t, int32_t, int32_t*, void*, size_t*) { return NotImplemented; }
