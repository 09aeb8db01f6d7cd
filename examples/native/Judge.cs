// Judges a picture with the graph that `edgead export part.edgead --onnx part.onnx` writes, by ONNX Runtime.
//
//   dotnet run --project examples/native -- part.onnx picture.ppm
//
// The picture is a binary PPM of the graph's frame size; a camera's frame goes the same way. Prints the score, 1 at the
// threshold, and the verdict. Exit code: 0 OK, 1 NG, 2 an error.

using System;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

internal static class Judge
{
    private static int Main(string[] arguments)
    {
        try
        {
            if (arguments.Length != 2) throw new ArgumentException("usage: judge GRAPH.onnx PICTURE.ppm");
            using (var session = new InferenceSession(arguments[0]))
            {
                var frame = ReadPpm(arguments[1]);
                var expected = session.InputMetadata["frame"].Dimensions;
                if (!frame.Dimensions.ToArray().SequenceEqual(expected))
                    throw new InvalidDataException(
                        $"the graph takes frames of {expected[2]}x{expected[1]}: export it with --frame");
                var inputs = new[] { NamedOnnxValue.CreateFromTensor("frame", frame) };
                using (var outputs = session.Run(inputs, new[] { "score", "is_anomalous" }))
                {
                    var score = outputs.First(one => one.Name == "score").AsTensor<float>().First();
                    var anomalous = outputs.First(one => one.Name == "is_anomalous").AsTensor<bool>().First();
                    Console.WriteLine(string.Format(
                        CultureInfo.InvariantCulture, "{0} {1}", score, anomalous ? "NG" : "OK"));
                    return anomalous ? 1 : 0;
                }
            }
        }
        catch (Exception error)
        {
            Console.Error.WriteLine($"judge: {error.Message}");
            return 2;
        }
    }

    /// <summary>The pixels of a binary PPM, (1, height, width, 3), blue first.</summary>
    private static DenseTensor<byte> ReadPpm(string path)
    {
        using (var file = new BinaryReader(File.OpenRead(path)))
        {
            var isPpm = Word(file) == "P6";
            if (!int.TryParse(Word(file), out var width) || !int.TryParse(Word(file), out var height)
                || Word(file) != "255" || !isPpm || width < 1 || height < 1 || width > 16384 || height > 16384)
                throw new InvalidDataException($"{path} is no binary PPM with 8 bits a channel");
            var pixels = file.ReadBytes(width * height * 3);
            if (pixels.Length < width * height * 3) throw new InvalidDataException($"{path} is cut short");
            for (var i = 0; i < pixels.Length; i += 3) Array.Reverse(pixels, i, 3);
            return new DenseTensor<byte>(pixels, new[] { 1, height, width, 3 });
        }
    }

    /// <summary>The next word of the header, with the one white space after it.</summary>
    private static string Word(BinaryReader file)
    {
        var word = new StringBuilder();
        while (word.Length < 16 && file.BaseStream.Position < file.BaseStream.Length)
        {
            var letter = (char)file.ReadByte();
            if (!char.IsWhiteSpace(letter)) word.Append(letter);
            else if (word.Length > 0) break;
        }
        return word.ToString();
    }
}
