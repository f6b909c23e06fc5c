"$F" import weights.safetensors --set net.arch=resnet50
