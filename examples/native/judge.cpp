// Judges a picture with the graph that `edgead export part.edgead --onnx part.onnx` writes, by OpenVINO.
//
// The wheel of OpenVINO has the headers and the libraries:
//
//   pip install openvino
//   OV=$(python -c "import openvino, pathlib; print(pathlib.Path(openvino.__file__).parent)")
//   g++ -std=c++17 judge.cpp -o judge -I $OV/include $OV/libs/libopenvino.so.* -Wl,-rpath,$OV/libs
//   ./judge part.onnx picture.ppm
//
// The picture is a binary PPM of the graph's frame size; a camera's frame goes the same way. Prints the score, 1 at the
// threshold, and the verdict. Exit code: 0 OK, 1 NG, 2 an error.

#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <openvino/openvino.hpp>

struct Picture {
    std::size_t width = 0, height = 0;
    std::vector<std::uint8_t> pixels;  // height * width * 3, blue first
};

Picture read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    std::size_t largest = 0;
    Picture picture;
    file >> kind >> picture.width >> picture.height >> largest;
    file.get();  // the one white space before the pixels
    if (!file || kind != "P6" || largest != 255 || picture.width > 16384 || picture.height > 16384)
        throw std::runtime_error(path + " is no binary PPM with 8 bits a channel");
    picture.pixels.resize(picture.width * picture.height * 3);
    file.read(reinterpret_cast<char*>(picture.pixels.data()), static_cast<std::streamsize>(picture.pixels.size()));
    if (!file) throw std::runtime_error(path + " is cut short");
    for (std::size_t i = 0; i < picture.pixels.size(); i += 3) std::swap(picture.pixels[i], picture.pixels[i + 2]);
    return picture;
}

int main(int count, char** arguments) try {
    if (count != 3) throw std::runtime_error("usage: judge GRAPH.onnx PICTURE.ppm");
    ov::Core core;
    ov::InferRequest request = core.compile_model(arguments[1], "CPU").create_infer_request();
    Picture picture = read_ppm(arguments[2]);
    const ov::Shape expected = request.get_tensor("frame").get_shape();
    const ov::Shape shape{1, picture.height, picture.width, 3};
    if (shape != expected)
        throw std::runtime_error("the graph takes frames of " + std::to_string(expected[2]) + "x" +
                                 std::to_string(expected[1]) + ": export it with --frame");
    request.set_tensor("frame", ov::Tensor(ov::element::u8, shape, picture.pixels.data()));
    request.infer();
    const float score = request.get_tensor("score").data<float>()[0];
    const bool anomalous = request.get_tensor("is_anomalous").data<bool>()[0];
    std::cout << score << (anomalous ? " NG\n" : " OK\n");
    return anomalous ? 1 : 0;
} catch (const std::exception& error) {
    std::cerr << "judge: " << error.what() << '\n';
    return 2;
}
